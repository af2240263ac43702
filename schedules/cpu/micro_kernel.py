"""The steps that every CPU schedule ends with: a register tile, filled and written once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Loop = Any
Block = Any


OUT_WIDTH = "tvm_mobilenet.out_width"
"""Function attribute: pixels in a row of the output, to unflatten the pixel axis."""


def out_width(sch: Any) -> int:
    """Return the pixels in a row of the output map."""
    return int(sch.mod["main"].attrs[OUT_WIDTH])


def extent(sch: Any, loop: Loop) -> int:
    """Return the extent of a loop, in iterations."""
    return int(sch.get(loop).extent)


def keep_in_registers(
    sch: Any, accumulate: Block, reduction: Sequence[Loop], tile: Sequence[Loop], lanes: Loop
) -> None:
    """Turn an accumulation into a micro-kernel.

    before: ``for <tile> for lanes for <reduction>: acc += a * b``, acc in memory
    after: ``acc = 0`` unrolled; ``for <reduction>: for <tile> unrolled: acc[lanes] += ...``,
    acc in vector registers (LLVM promotes a local buffer whose indices are constants)

    Parameters
    ----------
    sch : s_tir.Schedule
    accumulate : SBlockRV
        The block, already computed at its place in the consumer's tile loops.
    reduction, tile : sequence of LoopRV
        From outer to inner.
    lanes : LoopRV
        The channels of one block.
    """
    sch.reorder(*reduction, *tile, lanes)
    sch.set_scope(accumulate, 0, "local")
    for loop in tile:
        sch.unroll(loop)
    sch.vectorize(lanes)
    init = sch.decompose_reduction(accumulate, reduction[0])
    *init_tile, init_lanes = sch.get_loops(init)[-(len(tile) + 1) :]
    for loop in init_tile:
        sch.unroll(loop)
    sch.vectorize(init_lanes)


def write_back(sch: Any, tile: Sequence[Loop], lanes: Loop) -> None:
    """Unroll and vectorize the output stage, which applies the epilogue to the tile."""
    for loop in tile:
        sch.unroll(loop)
    sch.vectorize(lanes)
