"""The step that every TE schedule ends with: a register tile, filled and written once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Axis = Any
Stage = Any


def keep_in_registers(
    accumulate: Stage,
    outer: Sequence[Axis],
    reduction: Sequence[Axis],
    tile: Sequence[Axis],
    lanes: Axis,
) -> None:
    """Turn an accumulation into a micro-kernel.

    before: ``for <outer> for <tile> for lanes for <reduction>: acc += a * b``
    after: ``for <outer>: acc = 0``, unrolled; ``for <reduction>: for <tile> unrolled:
    acc[lanes] += ...``, acc in vector registers

    The accumulators stay in the default scope, which below 1024 bytes is the stack; LLVM
    takes them from there into registers.

    Parameters
    ----------
    accumulate : te.Stage
        Already computed inside the consumer's tile loops.
    outer, reduction, tile : sequence of IterVar
        From outer to inner; `outer` are loops of one iteration.
    lanes : IterVar
        The channels of one block.
    """
    accumulate.reorder(*outer, *reduction, *tile, lanes)
    for axis in tile:
        accumulate.unroll(axis)
    accumulate.vectorize(lanes)


def write_back(out: Stage, tile: Sequence[Axis], lanes: Axis) -> None:
    """Unroll and vectorize the output stage, which applies the epilogue to the tile."""
    for axis in tile:
        out.unroll(axis)
    out.vectorize(lanes)


def peel_tail(out: Stage, tiles: Axis) -> None:
    """Have a loop's whole tiles and its shorter last one compiled separately.

    before: ``for t: for p in tile: if t * tile + p < pixels: ...``
    after: ``for t in whole tiles: for p in tile: ...``, then the rest
    """
    out.pragma(tiles, "loop_partition_hint")


def share(out: Stage, units: Axis, *, parallel: bool) -> None:
    """Run a loop of independent units on all threads, if a plan says so."""
    if parallel:
        out.parallel(units)
