"""Depthwise convolution: nine multiply-adds an element, read straight from the unpadded map.

Pattern
    ``padded`` into ``accumulate(n, o, p, c; r, q)`` into ``out(n, o, p, c)``,
    operator "depthwise".

Loop nest, outer to inner
    (n, channel block, row group) on threads → rows → tiles of pixels in a row →
    taps, unrolled → pixels of the tile → lanes

Registers
    One accumulator a pixel, the input vector, and the filter's taps as memory
    operands or, where there is room, in registers: 7 + 9 + 2 = 18 of 32. With 16
    registers the tile is one pixel, 1 + 9 + 4: LLVM hoists the taps out of the loops
    in any case, and spills what they displace. An out-of-order core overlaps
    neighbouring pixels as if they were one tile (AVX2: 85 to 95% of 7 pixels).

Tails
    A short row that no tile divides is unrolled whole, so that LLVM knows which
    taps are border: 118 GFLOP/s instead of 66 at 17 x 17, 112 instead of 68 at 33 x 33.

Traffic
    The map is read once from L2 or beyond (a tile's rows come from L1 for two of
    its three taps) and written once. There is no padded copy: the border is a
    predicate on rows and columns, constant over the vector, which the branch
    predictor knows after the first map (docs/adr/0004).

Bound
    Multiply-adds in cache, memory bandwidth beyond. Measured on one Zen 5 core
    (238 GFLOP/s): 165 to 195 GFLOP/s at stride 1 (69 to 82%), 80 to 130 at
    stride 2 (34 to 55%).

What lost
    Staging padded rows in a buffer: 73 µs instead of 40 at 112 x 112 x 32. 14 pixels
    a tile, which spills at stride 1 (57 µs instead of 40).
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.depthwise import DepthwisePlan, RowPlan
from tvm_mobilenet.schedules.tensorir.cpu.micro_kernel import (
    keep_in_registers,
    peel_tail,
    share,
    write_back,
)
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def schedule_depthwise(
    sch: Any, work: Workload, plan: DepthwisePlan, _target: TargetSpec
) -> list[Prefetch]:
    """Schedule a depthwise convolution; the hardware prefetches its one stream."""
    accumulate, out = sch.get_sblock("accumulate"), sch.get_sblock("out")
    n, o, p, c = sch.get_loops(out)
    row, column = sch.split(p, list(work.out_size))
    row_group, row = sch.split(row, [plan.groups, None])
    tile_loop, pixel = sch.split(column, [None, plan.row.pixels])
    sch.reorder(n, o, row_group, row, tile_loop, pixel, c)
    units = sch.fuse(n, o, row_group)
    sch.compute_at(accumulate, tile_loop, preserve_unit_loops=True)
    tile_pixels, tile_lanes, r, q = sch.get_loops(accumulate)[-4:]
    sch.compute_inline(sch.get_sblock("padded"))
    share(sch, units, parallel=plan.parallel)
    if plan.row.unrolled:
        sch.unroll(r)
    sch.unroll(q)
    keep_in_registers(sch, accumulate, [r, q], [tile_pixels], tile_lanes)
    write_back(sch, [pixel], c)
    settle_tail(sch, tile_loop, plan.row)
    return []


def settle_tail(sch: Any, tiles: Any, row: RowPlan) -> None:
    """Take a shorter last tile of a row out of the loop of whole ones."""
    if not row.has_tail:
        return
    if row.is_short:
        sch.unroll(tiles)  # every border and tail is then known
    else:
        peel_tail(sch, tiles)
