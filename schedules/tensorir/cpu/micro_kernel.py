"""The steps that every CPU schedule ends with: a register tile, filled and written once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm_mobilenet.operators.workload import WORKLOAD, Workload

Loop = Any
Block = Any


def workload_of(func: Any) -> Workload | None:
    """Return the workload that a function carries; None where the kernel is not ours."""
    text = (func.attrs or {}).get(WORKLOAD)
    return None if text is None else Workload.parse(str(text))


def extent(sch: Any, loop: Loop) -> int:
    """Return the extent of a loop, in iterations."""
    return int(sch.get(loop).extent)


def keep_in_registers(
    sch: Any,
    accumulate: Block,
    reduction: Sequence[Loop],
    tile: Sequence[Loop],
    lanes: Loop,
    *,
    staged: bool = False,
) -> None:
    """Turn an accumulation into a micro-kernel.

    before: ``for <tile> for lanes for <reduction>: acc += a * b``, acc in memory
    after: ``acc = 0`` unrolled; ``for <reduction>: for <tile> unrolled: acc[lanes] += ...``,
    acc in vector registers

    The accumulators stay in the default scope, which below 1024 bytes is the stack; LLVM
    takes them from there into registers. Scope "local" would call TVM's allocator for every
    unit of work (7 x 7 x 1024 pointwise on one Zen 5 core: 490 µs, not 449).

    Parameters
    ----------
    accumulate : SBlockRV
        The block, already computed inside the consumer's tile loops.
    reduction, tile : sequence of LoopRV
        From outer to inner.
    lanes : LoopRV
        The channels of one block.
    staged : bool
        Whether the first operand is read a vector at a time, before the last loop of the
        reduction, which goes over its lanes.
    """
    sch.reorder(*reduction, *tile, lanes)
    for loop in tile:
        sch.unroll(loop)
    sch.vectorize(lanes)
    if staged:
        _stage(sch, accumulate, reduction)
    init = sch.decompose_reduction(accumulate, reduction[0])
    *init_tile, init_lanes = sch.get_loops(init)[-(len(tile) + 1) :]
    for loop in init_tile:
        sch.unroll(loop)
    sch.vectorize(init_lanes)


def _stage(sch: Any, accumulate: Block, reduction: Sequence[Loop]) -> None:
    """Copy the input of a step of the reduction into an array, which LLVM takes into registers.

    before: ``for outer: for k: for p, v: acc[p][v] += broadcast(data[p][k]) * weight``
    after: ``for outer: staged[p] = data[p][0:4]; for k, p, v unrolled: acc[p][v] +=
    broadcast(staged[p][k]) * weight``: all indices are constants, so that LLVM sees a lane
    """
    *_, outer, lane = reduction
    staged = sch.cache_read(accumulate, 0, "global")
    sch.compute_at(staged, outer, preserve_unit_loops=True)
    *_, pixels, lanes = sch.get_loops(staged)
    sch.unroll(pixels)
    sch.vectorize(lanes)
    sch.unroll(lane)


def peel_tail(sch: Any, tiles: Loop) -> None:
    """Have a loop's whole tiles and its shorter last one compiled separately.

    before: ``for t: for p in tile: if t * tile + p < pixels: ...``
    after: ``for t in whole tiles: for p in tile: ...``, then the rest

    Most times LLVM would hoist the condition out of the micro-kernel's loop itself, but it
    then keeps the accumulators of the missing pixels on the stack.
    """
    sch.annotate(tiles, "pragma_loop_partition_hint", 1)


def write_back(sch: Any, tile: Sequence[Loop], lanes: Loop) -> None:
    """Unroll and vectorize the output stage, which applies the epilogue to the tile."""
    for loop in tile:
        sch.unroll(loop)
    sch.vectorize(lanes)


def share(sch: Any, units: Loop, *, parallel: bool) -> None:
    """Run a loop of independent units on all threads, if a plan says so."""
    if parallel:
        sch.parallel(units)
