"""Full convolution from NCHW with TE: the loops of ``tensorir/cpu/conv``.

Pattern
    Stages ``padded``, ``accumulate(n, o, p, c; i, r, q)`` and ``out(n, o, p, c)``,
    operator "conv".

Loop nest, outer to inner
    (n, row) on threads → vector group → tiles of pixels in the row → input
    channel, tap row, tap column → pixels of the tile → vectors → lanes

Registers
    8 x 2 + 2 + 8 = 26 of 32 with AVX-512, 4 x 2 + 2 + 4 = 14 of 16 with AVX2.

Tails
    None: a tile of pixels divides the row. The last tile, which alone reads the border beside
    the map, is compiled separately. LLVM would keep its condition for every tap of every tile,
    for which 16 registers do not suffice, and with 8 pixels not even 32 (80 x 80 x 32: 59 µs,
    not 73).
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.conv import ConvPlan
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.micro_kernel import keep_in_registers, peel_tail, share, write_back
from tvm_mobilenet.schedules.tensorir.cpu.conv import later_rows
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch


def schedule_conv(s: Any, made: Definition, plan: ConvPlan) -> list[Prefetch]:
    """Schedule a full convolution."""
    s[made.stage("padded")].compute_inline()
    out, accumulate = s[made.out], s[made.stage("accumulate")]
    n, o, p, c = out.op.axis
    row, column = out.split(p, plan.width)
    tiles, pixel = out.split(column, plan.tile.pixels)
    group, vector = out.split(o, plan.tile.vectors)
    out.reorder(n, row, group, tiles, pixel, vector, c)
    units = out.fuse(n, row)
    accumulate.compute_at(out, tiles)
    image, vectors, tile_pixels, tile_lanes = accumulate.op.axis
    reduction = accumulate.op.reduce_axis
    keep_in_registers(accumulate, [image], reduction, [tile_pixels, vectors], tile_lanes)
    write_back(out, [pixel, vector], c)
    peel_tail(out, tiles)
    share(out, units, parallel=plan.parallel)
    return later_rows(made.work, plan, (accumulate, image), [units, group, tiles])
