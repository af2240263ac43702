"""Kernels that are not ours, on a processor: shared among threads, in vectors.

Pattern
    Any function of TVM's own: what an operator of an imported network is lowered to.

Loop nest, outer to inner
    Where nothing is summed: all axes but the last, fused, on threads → the last one, in vectors.
    Sums that lie along an axis: the axes before it on threads → the sum → a vector of sums, of
    two rows where there are such (a product of matrices then loads half as often).
    Sums of which one is left in a row: the axes before them on threads → partial sums in the
    lanes of a vector, which are added last.

Traffic
    Stages in a row that move or compute single elements are one; all others are stages of their
    own, which the cache keeps or does not.

Bound
    Memory, or the cache that a map is in; loads of single elements where axes change places.

What lost
    TVM's own rules for processors (``dlight.cpu``): they know sums alone, and of those the ones
    of large language models.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import IRModule
from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.dlight.analysis import SBlockInfo, normalize_prim_func
from tvm.tirx import IterVar
from tvm.tirx.analysis import undefined_vars
from tvm_mobilenet.schedules.plans.threads import ELEMENT, pays_to_share
from tvm_mobilenet.schedules.tensorir.cpu.micro_kernel import (
    extent,
    keep_in_registers,
    share,
    write_back,
)

from tvm_mobilenet.machine import TargetSpec

_APART, _SUMMED = int(IterVar.DataPar), int(IterVar.CommReduce)

_ROWS = (4, 2)
"""Rows of sums that a pass over what they are made of may keep in registers, best first."""

_MOST_SUMS = 256
"""Elements of a buffer that is on the stack still."""

_FEWEST_LANES = 4

_UNITS_A_CORE = 8
"""Pieces a thread from which on they are even enough."""


def share_among_threads(func: Any, target: TargetSpec) -> Any:
    """Schedule a function that is not one of ours.

    before: ``for i, j: y[i, j] = f(x[i, j])``
    after: ``for i on threads: for j in vectors: …``

    A stage that no rule applies to is left as it is, and so is a function that is no loops over
    elements: a sort, say.
    """
    sch = Schedule(IRModule({"main": func}))
    stages = normalize_prim_func(sch)
    if stages is None:
        return func
    left = [stage for stage in stages if not _inlined(sch, stage)]
    names = [stage.name for stage in left]
    for stage in left:
        trial = sch.copy()
        try:
            _schedule(trial, stage.name, target)
        except ScheduleError:
            continue
        sch = trial
    return sch.mod["main"] if len(set(names)) == len(names) else func


def _inlined(sch: Any, stage: SBlockInfo) -> bool:
    """Compute elements where they are read, if one stage of elements alone reads them."""
    readers = sch.get_consumers(stage.block_rv)
    if not stage.is_injective() or len(readers) != 1:
        return False
    kinds = {int(axis.iter_type) for axis in sch.get(readers[0]).iter_vars}
    if kinds != {_APART}:
        return False
    try:
        sch.compute_inline(stage.block_rv)
    except ScheduleError:
        return False
    return True


def _schedule(sch: Any, name: str, target: TargetSpec) -> None:
    stage = sch.get_sblock(name)
    loops = sch.get_loops(stage)
    kinds = [int(axis.iter_type) for axis in sch.get(stage).iter_vars]
    if not set(kinds) <= {_SUMMED, _APART}:
        return
    sums = _SUMMED in kinds
    if sums and len(kinds) != len(loops):
        return
    summed = [loop for loop, kind in zip(loops, kinds, strict=sums) if kind == _SUMMED]
    kept = [loop for loop in loops if loop not in summed]
    work = ELEMENT * math.prod(extent(sch, loop) for loop in loops)
    if not kept:
        return
    if not summed:
        _elements(sch, kept, work, target)
    elif _lies_along(sch.get(stage)):
        _sums_side_by_side(sch, stage, len(kept), work, target)
    else:
        _sums_in_a_row(sch, stage, kept, summed, work, target)


def _lies_along(block: Any) -> bool:
    """Whether neighbours among the sums are made of neighbours in memory."""
    last = [axis.var for axis in block.iter_vars if int(axis.iter_type) == _APART][-1]
    return any(
        any(var.same_as(last) for var in undefined_vars(read.region[-1].min))
        for read in block.reads
        if len(read.region)
    )


def _shared(sch: Any, loops: list[Any], work: int, target: TargetSpec) -> Any:
    """Fuse loops into one that threads share, if that pays."""
    units = loops[0] if len(loops) == 1 else sch.fuse(*loops)
    share(sch, units, parallel=pays_to_share(extent(sch, units), work, target))
    return units


def _lanes_of(size: int, target: TargetSpec) -> int:
    """Return the lanes that divide an axis; 0 where fewer than four do, and LLVM may choose."""
    lanes = target.lanes
    while lanes >= _FEWEST_LANES and size % lanes:
        lanes //= 2
    return lanes if lanes >= _FEWEST_LANES else 0


def _elements(sch: Any, kept: list[Any], work: int, target: TargetSpec) -> None:
    *outer, last = kept
    lanes = _lanes_of(extent(sch, last), target)
    if lanes:
        vectors, last = sch.split(last, [None, lanes])
        sch.vectorize(last)
        if math.prod(extent(sch, loop) for loop in outer) < _UNITS_A_CORE * target.cores:
            outer.append(vectors)
    elif not outer:
        return
    _shared(sch, outer, work, target)


def _but_one_long(sch: Any, loops: list[Any]) -> list[Any]:
    """Fuse loops of one turn at the end with the one before them."""
    while len(loops) > 1 and extent(sch, loops[-1]) == 1:
        *loops, before, one = loops
        loops.append(sch.fuse(before, one))
    return loops


def _sums_side_by_side(sch: Any, stage: Any, kept: int, work: int, target: TargetSpec) -> None:
    written = sch.cache_write(stage, 0, "global")
    *outer, last = _but_one_long(sch, sch.get_loops(written))
    size = extent(sch, last)
    lanes = _lanes_of(size, target)
    width = lanes or max(d for d in range(1, min(size, _MOST_SUMS) + 1) if size % d == 0)
    steps, last = sch.split(last, [None, width])
    rows: list[Any] = []
    if lanes and outer:
        count = next((n for n in _ROWS if extent(sch, outer[-1]) % n == 0), 1)
        groups, row = sch.split(outer.pop(), [None, count])
        sch.reorder(groups, steps, row, last)
        outer.append(groups)
        rows = [row]
    units = _shared(sch, [*outer, steps], work, target)
    sch.compute_at(stage, units, preserve_unit_loops=True)
    inside = sch.get_loops(stage)[1:]
    sums, over = inside[:kept], inside[kept:]
    first = sch.fuse(*sums[:-1]) if len(sums) > 1 else None
    if lanes:
        keep_in_registers(sch, stage, over, [] if first is None else [first], sums[-1])
        write_back(sch, rows, last)
        return
    sch.reorder(*over, *([] if first is None else [first]), sums[-1])
    sch.decompose_reduction(stage, over[0])


def _sums_in_a_row(  # noqa: PLR0917  a stage and its loops
    sch: Any, stage: Any, kept: list[Any], summed: list[Any], work: int, target: TargetSpec
) -> None:
    over = summed[0] if len(summed) == 1 else sch.fuse(*summed)
    size = extent(sch, over)
    if size % target.lanes == 0 and size >= 2 * target.lanes:
        _, lane = sch.split(over, [None, target.lanes])
        parts = sch.rfactor(lane, len(kept))
        units = _shared(sch, sch.get_loops(stage)[: len(kept)], work, target)
        sch.compute_at(parts, units, preserve_unit_loops=True)
        *_, inner = sch.get_loops(parts)
        keep = sch.get_loops(parts)
        sch.reorder(inner, keep[-2])
        keep_in_registers(sch, parts, [inner], [], keep[-2])
        return
    _shared(sch, kept, work, target)
