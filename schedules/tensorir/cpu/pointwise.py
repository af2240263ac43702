"""Pointwise (1 x 1) convolution: a matrix product that never leaves the registers.

Pattern
    ``accumulate(n, o, p, c; k)`` into ``out(n, o, p, c)``, operator "pointwise".

Loop nest, outer to inner
    (n, pixel chunk, vector group) on threads → tiles of pixels in the chunk →
    reduction: channel step outer, step inner → pixels of the tile → vectors → lanes

Registers
    pixels x vectors accumulators, one weight vector per output vector, one
    broadcast: 7 x 2 + 2 + 1 = 17 of 32 with AVX-512, 6 x 2 + 2 + 1 = 15 of 16
    with AVX2. Staged, on NEON, a vector of four channels for each pixel: 9 x 2 + 2 + 9 = 29
    of 32.

Traffic
    Every multiply-add reads registers and L1. A vector group's weights (depth x
    vectors x lanes x 4 bytes: 64 KB at depth 512) are read again from L1 or L2 for each
    tile, 18 bytes a cycle at 7 x 2. The chunk's activations are read again for each
    vector group, so a chunk is at most half of L2.

Bound
    Multiply-add throughput. Measured on one Zen 5 core (238 GFLOP/s): 204 to 238
    GFLOP/s (86 to 100%) over the layers of MobileNet V1 1.0/224 (benchmarks/layers.py).

What lost
    Pixels outside, vector groups inside (202 to 231 GFLOP/s: the stores of one tile
    then go to addresses that differ by multiples of 4096 bytes). 14 x 2 spills
    under ``parallel``; 7 x 4 spills everywhere (90 to 230 GFLOP/s).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm_mobilenet.schedules.plans.pointwise import PointwisePlan
from tvm_mobilenet.schedules.tensorir.cpu.micro_kernel import (
    keep_in_registers,
    peel_tail,
    share,
    write_back,
)
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch, for_others

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.machine.arithmetic import line_items
from tvm_mobilenet.operators.workload import Workload


def schedule_pointwise(
    sch: Any, work: Workload, plan: PointwisePlan, target: TargetSpec
) -> list[Prefetch]:
    """Schedule a pointwise convolution."""
    accumulate, out = sch.get_sblock("accumulate"), sch.get_sblock("out")
    n, o, p, c = sch.get_loops(out)
    tile_loop, pixel = sch.split(p, [None, plan.tile.pixels])
    chunk, tile_loop = sch.split(tile_loop, [plan.chunks, None])
    group, vector = sch.split(o, [None, plan.tile.vectors])
    sch.reorder(n, chunk, group, tile_loop, pixel, vector, c)
    units = sch.fuse(n, chunk, group)
    sch.compute_at(accumulate, tile_loop, preserve_unit_loops=True)
    vectors, tile_pixels, tile_lanes, k = sch.get_loops(accumulate)[-4:]
    outer, inner = sch.split(k, [None, plan.inner])
    share(sch, units, parallel=plan.parallel)
    tile = [tile_pixels, vectors]
    staged = plan.tile.staged
    keep_in_registers(sch, accumulate, [outer, inner], tile, tile_lanes, staged=staged)
    write_back(sch, [pixel, vector], c)
    # LLVM peels this tail itself, without a spill and better: 153 µs, not 157, at 10 x 10 x 384.
    if plan.prefetch != "weights" or target.isa != "avx512":
        peel_tail(sch, tile_loop)
    loops = [units, tile_loop, outer]
    others = for_others(sch, loops, [plan.units, plan.tiles, plan.outer])
    return [*prefetched(work, plan, outer, loops), *others]


def prefetched(
    work: Workload, plan: PointwisePlan, at: Any, loops: Sequence[Any]
) -> list[Prefetch]:
    """Prefetch, at every outer step of the reduction, a share of what comes next.

    That is the next tile's pixels of the same channels or the next group's weights, as the
    plan says. `loops` are units, tiles and outer steps; `at` is the last of them.
    """
    tile, groups, tiles = plan.tile, plan.groups, plan.tiles
    in_block, lanes = work.in_block, work.out_block

    def next_tile(unit: Any, at: Any, step: Any) -> list[tuple[Any, ...]]:
        first = (unit // groups % plan.chunks * tiles + at + 1) * tile.pixels
        image, block = unit // (groups * plan.chunks), step * plan.inner // in_block
        apart = max(line_items(work.dtype) // in_block, 1)
        return [(image, block, first + i, 0) for i in range(0, tile.pixels, apart)]

    def next_group(unit: Any, at: Any, step: Any) -> list[tuple[Any, ...]]:
        depth, rows = plan.outer * plan.inner, max(line_items(work.dtype) // lanes, 1)
        each = -(-tile.vectors * depth // (rows * tiles * plan.outer))
        first = (at * plan.outer + step) * each
        group = (unit + 1) % groups * tile.vectors
        found = [(first + i) * rows for i in range(each)]
        return [(group + place // depth, place % depth, 0) for place in found]

    if plan.prefetch == "none":
        return []
    parameter, indices = (0, next_tile) if plan.prefetch == "input" else (1, next_group)
    return [Prefetch(at, parameter, indices, loops)]
