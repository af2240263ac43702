"""Depthwise-separable block: what passes between its two convolutions never leaves L2.

Pattern
    ``padded`` into ``filtered(n, k, p, c; r, q)`` into ``mid(n, k, p, c)`` into
    ``accumulate(n, o, p, c; k)`` into ``out(n, o, p, c)``, operator "separable".

Loop nest, outer to inner
    (n, row group, channel split) on threads → first the depthwise layer:
    channel block → row → tile of pixels → taps, unrolled → pixels → lanes, into a
    buffer of the row group; then the pointwise layer: vector group → tiles of
    the row group's pixels → reduction → pixels of the tile → vectors → lanes

    Channel splits give threads work where a map has too few rows; each of them
    computes the whole depthwise layer of its rows (2% of the work at 7 x 7 x 512).

Registers
    As the two micro-kernels: 7 + 9 + 2 of 32, then 7 x 2 + 2 + 1.

Traffic
    The row group's buffer and its input take at most half of L2 together: at stride 2
    the input is four times the buffer, and would evict it. Input and output pass
    once; a row group's first and last rows are read again by its neighbours. Each
    row group reads all weights again, so they are prefetched a panel ahead where
    they are too large to stay in L2.

Bound
    Multiply-add throughput. In MobileNet V1 1.0/224 on Zen 5, fused and, measured in
    turns with it, unfused, in µs on one and two threads (benchmarks/traffic.py)::

        block 1         290, not 298    152, not 155
        block 2         281, not 275    148, not 145
        block 3         494, not 497    252, not 258
        block 5         473, not 491    242, not 258
        blocks 7 to 11  464, not 462    238, not 246

    At 238 GFLOP/s a core the bound of block 1 is 246 µs (85% reached on one thread), of
    block 3 462 (94%), of blocks 7 to 11 439 each (95%).

What lost
    Prefetching the next row group's input: +20 to +40 µs at 112 x 112 x 32, -6 µs at
    56 x 56 x 128. Tiles outside, vector groups inside: the same time. Two rows a group,
    so that the buffer stays in L1: 284 µs, not 272, at 112 x 112 x 32. The first
    convolution in the same function, by bands of 28 rows: block 2 loses what that
    gains, because its buffers are then cold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm_mobilenet.schedules.plans.separable import SeparablePlan
from tvm_mobilenet.schedules.tensorir.cpu.depthwise import settle_tail
from tvm_mobilenet.schedules.tensorir.cpu.micro_kernel import (
    keep_in_registers,
    peel_tail,
    share,
    write_back,
)
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch, for_others, next_panel

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def schedule_separable(
    sch: Any, work: Workload, plan: SeparablePlan, _target: TargetSpec
) -> list[Prefetch]:
    """Schedule a depthwise-separable block."""
    filtered, mid = sch.get_sblock("filtered"), sch.get_sblock("mid")
    accumulate, out = sch.get_sblock("accumulate"), sch.get_sblock("out")
    n, o, p, c = sch.get_loops(out)
    chunk, rest = sch.split(p, [plan.chunks, plan.chunk_pixels])
    tile_loop, pixel = sch.split(rest, [None, plan.tile.pixels])
    split, group, vector = sch.split(o, [plan.splits, plan.groups, plan.tile.vectors])
    sch.reorder(n, chunk, split, group, tile_loop, pixel, vector, c)
    units = sch.fuse(n, chunk, split)
    sch.compute_at(accumulate, tile_loop, preserve_unit_loops=True)
    vectors, tile_pixels, tile_lanes, k = sch.get_loops(accumulate)[-4:]
    outer, inner = sch.split(k, [None, plan.inner])

    sch.compute_at(mid, units, preserve_unit_loops=True)
    mid_pixel, mid_lanes = sch.get_loops(mid)[-2:]
    _, mid_column = sch.split(mid_pixel, [plan.rows, plan.row.width])
    mid_tile, mid_pixel = sch.split(mid_column, [None, plan.row.pixels])
    sch.compute_at(filtered, mid_tile, preserve_unit_loops=True)
    filtered_pixels, filtered_lanes, r, q = sch.get_loops(filtered)[-4:]
    sch.compute_inline(sch.get_sblock("padded"))

    share(sch, units, parallel=plan.parallel)
    if plan.row.unrolled:
        sch.unroll(r)
    sch.unroll(q)
    keep_in_registers(sch, filtered, [r, q], [filtered_pixels], filtered_lanes)
    write_back(sch, [mid_pixel], mid_lanes)
    settle_tail(sch, mid_tile, plan.row)
    tile = [tile_pixels, vectors]
    staged = plan.tile.staged
    keep_in_registers(sch, accumulate, [outer, inner], tile, tile_lanes, staged=staged)
    write_back(sch, [pixel, vector], c)
    peel_tail(sch, tile_loop)

    loops = [units, group, tile_loop, outer]
    others = for_others(sch, loops, [plan.units, *plan.extents])
    return [*sweep_prefetches(work, plan, outer, loops), *others]


def sweep_prefetches(
    work: Workload, plan: SeparablePlan, at: Any, loops: Sequence[Any]
) -> list[Prefetch]:
    """Prefetch what comes next, evenly through a row group's pointwise layer.

    That is the next vector group's weights or the next row group's input, as the plan says.
    `loops` are units, vector groups, tiles and outer steps; `at` is the last of them.
    """
    if plan.prefetch == "none":
        return []
    if plan.prefetch == "input":
        return [_next_rows(work, plan, at, loops)]
    return [
        next_panel(
            at,
            loops,
            parameter=3,
            depth=work.depth,
            lanes=work.out_block,
            dtype=work.dtype,
            vectors=plan.tile.vectors,
            steps=(plan.tiles, plan.outer),
            groups=(plan.splits, plan.groups),
        )
    ]


def _next_rows(work: Workload, plan: SeparablePlan, at: Any, loops: Sequence[Any]) -> Prefetch:
    """Prefetch the next row group's input during the present one's pointwise layer."""
    ahead = work.in_pixels // plan.chunks
    spots = -(-ahead // (plan.groups * plan.tiles))
    each = -(-work.in_blocks // plan.outer)

    def indices(unit: Any, group: Any, tile: Any, step: Any) -> list[tuple[Any, ...]]:
        image, rank = unit // (plan.splits * plan.chunks), unit // plan.splits % plan.chunks
        first = (rank + 1) * ahead + (group * plan.tiles + tile) * spots
        return [
            (image, step * each + block, first + i, 0)
            for block in range(each)
            for i in range(spots)
        ]

    return Prefetch(at, 0, indices, loops)
