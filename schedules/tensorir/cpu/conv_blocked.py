"""Convolution of any kernel and groups on blocks: the pointwise micro-kernel once for each tap.

Pattern
    ``padded`` into ``accumulate(n, o, y, a, x, b, c; r, q, k)`` into ``out``, of the same
    axes without the reduction (``by_rows``): operators "conv_blocked" and "conv_transpose",
    of which y and x are steps by the strides, a and b phases in them.

Loop nest, outer to inner
    (n, row group, channel split) on threads → the input's rows with their border, copied →
    vector group → part of a block → row → phases → tiles of a row → taps → channels → pixels
    of the tile → vectors → lanes

Registers
    As the pointwise micro-kernel: 7 x 2 + 2 + 1 = 17 of 32 with AVX-512. Where groups end
    inside of a block, a vector is as wide as what belongs to one of them, and 14 x 1. A group
    of one channel is copied for every output that reads it: its vectors are whole.

Traffic
    A copy of the rows that a unit reads, at most half of L2, has zeros for a border: the
    micro-kernel has no condition. A vector group's weights (taps x depth x vectors x lanes
    x 4 bytes: 74 KB of 3 x 3 x 64) come from L2 for every tile, 18 bytes a cycle at 7 x 2.

Bound
    Multiply-add throughput, 115 GFLOP/s of one Zen 4 core at 3.6 GHz. Measured there, the
    best of many while others used it too, at 56 x 56 x 64: 114 at 3 x 3, dilated or not, 113
    in 4 groups, 97 in 8; transposed 112 at 2 x 2 and 115 at 4 x 4. What stores as much as it
    multiplies takes longer: 80 transposed and depthwise, 58 with a multiplier of 2.

What lost
    Reading the border by conditions: 2119 us, not 2032, at 3 x 3. Tiles of 14 x 1, 8 x 1 and
    4 x 3: the same within 2%.
    Zeros beside the diagonal for groups narrower than a block: as many multiply-adds as
    narrow vectors take, and a NaN of one group would reach its neighbours. Zeros for the
    taps that a phase lacks (3 x 3 by strides of 2 has 9 of 16): likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm_mobilenet.schedules.plans.conv_blocked import ConvBlockedPlan
from tvm_mobilenet.schedules.tensorir.cpu.lengths import Length
from tvm_mobilenet.schedules.tensorir.cpu.micro_kernel import (
    keep_in_registers,
    peel_tail,
    share,
    write_back,
)

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def schedule_conv_blocked(
    sch: Any, _work: Workload, plan: ConvBlockedPlan, _target: TargetSpec
) -> Sequence[Length]:
    """Schedule a convolution on blocks."""
    _scheduled(sch, plan)
    return []


def schedule_conv_transpose(
    sch: Any, work: Workload, plan: ConvBlockedPlan, _target: TargetSpec
) -> Sequence[Length]:
    """Schedule a transposed convolution, and let each phase go over its own taps only."""
    return shorter_taps(work, _scheduled(sch, plan))


def shorter_taps(work: Workload, loops: Sequence[tuple[Any, Any]]) -> Sequence[Length]:
    """Return the lengths of loops over taps, for rows and for columns, in those over phases."""
    return [
        Length(loop, _taps_of_phase(taps, stride, before), [phase])
        for (phase, loop), taps, stride, before in zip(
            loops, work.kernel, work.strides, work.padding, strict=False
        )
        if taps % stride
    ]


def _taps_of_phase(taps: int, stride: int, before: int) -> Any:
    """Return how many taps reach a phase, as a function of it."""
    return lambda phase: (taps - 1 - (phase + before) % stride) // stride + 1


def _scheduled(sch: Any, plan: ConvBlockedPlan) -> list[tuple[Any, Any]]:
    """Schedule either; return, for rows and for columns, the loops over phases and taps."""
    accumulate, out = sch.get_sblock("accumulate"), sch.get_sblock("out")
    n, o, row, row_phase, step, phase, c = sch.get_loops(out)
    chunk, row = sch.split(row, [plan.chunks, None])
    tile_loop, pixel = sch.split(step, [None, plan.tile.pixels])
    split, group, vector = sch.split(o, [plan.splits, plan.groups, plan.tile.vectors])
    part, lane = sch.split(c, [None, plan.lanes])
    sch.reorder(
        *(n, chunk, split, group, part, row, row_phase, phase, tile_loop, pixel, vector, lane)
    )
    units = sch.fuse(n, chunk, split)
    sch.compute_at(accumulate, tile_loop, preserve_unit_loops=True)
    vectors, _, _, tile_pixels, _, tile_lanes, r, q, k = sch.get_loops(accumulate)[-9:]
    outer, inner = sch.split(k, [None, plan.inner])
    window = sch.get_sblock("padded")
    if plan.staged:
        sch.compute_at(window, units, preserve_unit_loops=True)
        lanes = sch.get_loops(window)[-1]
        if plan.copied:
            each, lanes = sch.split(lanes, [None, plan.copied])
            sch.unroll(each)
        sch.vectorize(lanes)
    else:
        sch.compute_inline(window)
    share(sch, units, parallel=plan.parallel)
    keep_in_registers(sch, accumulate, [r, q, outer, inner], [tile_pixels, vectors], tile_lanes)
    write_back(sch, [pixel, vector], lane)
    if plan.steps % plan.tile.pixels:
        peel_tail(sch, tile_loop)
    return [(row_phase, r), (phase, q)]
