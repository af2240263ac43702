"""What TE schedules of GPUs share: threads, virtual threads, vectors of 16 bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import te

Axis = Any
Stage = Any


def bind(stage: Stage, **axes: Axis) -> None:
    """Bind axes of a stage to the grid: ``bind(out, blockIdx_x=block, threadIdx_x=thread)``."""
    for name, axis in axes.items():
        stage.bind(axis, te.thread_axis(name.replace("_", ".")))


def copies(stage: Stage, *axes: Axis) -> None:
    """Make a thread several virtual ones.

    before: ``for row: sum(row); out(row)``
    after: each statement repeated for every row, with as many sums in registers

    TE's regions are ranges of flat pixels: one of two rows would hold all pixels between them.
    A virtual thread has one row.
    """
    for axis in axes:
        stage.bind(axis, te.thread_axis("vthread"))


def copied(stage: Stage) -> None:
    """Turn a copy of whole vectors into loads or stores of 16 bytes, all of them unrolled."""
    *loops, lanes = stage.op.axis
    stage.vectorize(lanes)
    for loop in loops:
        stage.unroll(loop)


def staged(stage: Stage, threads: Sequence[tuple[str, int]]) -> None:
    """Share a copy into shared memory among the threads of a block, a vector each.

    `threads` are the block's axes and their extents, the one in which neighbours differ first.
    """
    *loops, lanes = stage.op.axis
    stage.vectorize(lanes)
    rest = stage.fuse(*loops)
    for name, count in threads:
        rest, own = stage.split(rest, count)
        stage.bind(own, te.thread_axis((0, count), name))
