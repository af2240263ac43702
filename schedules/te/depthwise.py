"""Depthwise convolution with TE: the loops of ``tensorir/cpu/depthwise``.

Pattern
    Stages ``padded``, ``accumulate(n, o, p, c; r, q)`` and ``out(n, o, p, c)``,
    operator "depthwise".

Loop nest, outer to inner
    (n, channel block, row group) on threads → rows → tiles of pixels in a row →
    taps, unrolled → pixels of the tile → lanes

Registers
    One accumulator a pixel, the input vector, and the filter's taps as memory
    operands or, where there is room, in registers: 7 + 9 + 2 = 18 of 32.

Tails
    None: a tile of pixels divides the row.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.depthwise import DepthwisePlan
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.micro_kernel import keep_in_registers, share, write_back
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch


def schedule_depthwise(s: Any, made: Definition, plan: DepthwisePlan) -> list[Prefetch]:
    """Schedule a depthwise convolution; the hardware prefetches its one stream."""
    s[made.stage("padded")].compute_inline()
    out, accumulate = s[made.out], s[made.stage("accumulate")]
    n, o, p, c = out.op.axis
    row, column = out.split(p, plan.row.width)
    row_group, row = out.split(row, nparts=plan.groups)
    tiles, pixel = out.split(column, plan.row.pixels)
    out.reorder(n, o, row_group, row, tiles, pixel, c)
    units = out.fuse(n, o, row_group)
    accumulate.compute_at(out, tiles)
    image, block, tile_pixels, tile_lanes = accumulate.op.axis
    r, q = accumulate.op.reduce_axis
    keep_in_registers(accumulate, [image, block], [r, q], [tile_pixels], tile_lanes)
    if plan.row.unrolled:
        accumulate.unroll(r)
    accumulate.unroll(q)
    write_back(out, [pixel], c)
    share(out, units, parallel=plan.parallel)
    return []
