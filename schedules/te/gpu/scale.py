"""One factor a channel on a GPU: a thread takes vectors, apart by a block's threads."""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.gpu.threads import block_threads
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.te.definition import Definition, extents
from tvm_mobilenet.schedules.te.gpu.threads import bind

from tvm_mobilenet.target import TargetSpec


def schedule_scale(s: Any, work: Definition, knobs: Knobs, target: TargetSpec) -> None:
    """Schedule a scale.

    Parameters
    ----------
    s : te.Schedule
    work : Definition
    knobs : Knobs
        ``threads`` of a block; ``vectors`` of a thread.
    target : TargetSpec
        With a GPU.
    """
    out = s[work.out]
    n, o, p, c = out.op.axis
    batch, blocks, pixels, _ = extents(out.op.axis)
    vectors = knobs.choice("vectors", [1, 2, 4], 1)
    threads = block_threads(knobs, -(-batch * blocks * pixels // vectors), target)
    rest, thread = out.split(out.fuse(n, o, p), threads)
    block, vector = out.split(rest, vectors)
    out.reorder(block, thread, vector, c)
    bind(out, blockIdx_x=block, threadIdx_x=thread)
    out.unroll(vector)
    out.vectorize(c)
