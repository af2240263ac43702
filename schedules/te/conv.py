"""Full convolution from NCHW with TE: the loops of :mod:`tvm_mobilenet.schedules.cpu.conv`.

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
    the map, is compiled apart: else LLVM keeps its condition for every tap of every tile, which
    16 registers do not hold, and with 8 pixels not even 32 (80 x 80 x 32: 73 µs, and 59 apart).
"""

from __future__ import annotations

import math
from typing import Any

from tvm_mobilenet.schedules.cpu.conv import ROWS_AHEAD, fits, later_rows
from tvm_mobilenet.schedules.cpu.pointwise import choose_tile
from tvm_mobilenet.schedules.cpu.prefetch import Prefetch
from tvm_mobilenet.schedules.cpu.tile import Tile, best_tile
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.te.definition import Definition, extents
from tvm_mobilenet.schedules.te.micro_kernel import keep_in_registers, peel_tail, share, write_back

from tvm_mobilenet.target import TargetSpec


def schedule_conv(s: Any, work: Definition, knobs: Knobs, target: TargetSpec) -> list[Prefetch]:
    """Schedule a full convolution.

    Parameters
    ----------
    s : te.Schedule
    work : Definition
    knobs : Knobs
        ``vectors`` and ``pixels``: accumulators; ``rows_ahead``: output rows whose
        input is prefetched before its time, 0 for none; ``threads``: all or one.
    target : TargetSpec

    Returns
    -------
    list of Prefetch
    """
    accumulate = work.stage("accumulate")
    batch, blocks, pixels, lanes = extents(work.out.op.axis)
    width = work.out_width
    rows = pixels // width
    steps = math.prod(extents(accumulate.op.reduce_axis))

    def whole(tile: Tile, target: TargetSpec) -> bool:
        return width % tile.pixels == 0 and fits(tile, target)

    best = best_tile(width, blocks, steps, target, batch, rows, whole)
    tile = choose_tile(knobs, best, width, blocks, target, whole)

    s[work.stage("padded")].compute_inline()
    out = s[work.out]
    n, o, p, c = out.op.axis
    row, column = out.split(p, width)
    tiles, pixel = out.split(column, tile.pixels)
    group, vector = out.split(o, tile.vectors)
    out.reorder(n, row, group, tiles, pixel, vector, c)
    units = out.fuse(n, row)
    acc = s[accumulate]
    acc.compute_at(out, tiles)
    image, vectors, tile_pixels, tile_lanes = acc.op.axis
    keep_in_registers(acc, [image], acc.op.reduce_axis, [tile_pixels, vectors], tile_lanes)
    write_back(out, [pixel, vector], c)
    peel_tail(out, tiles)
    share(out, units, batch * rows, batch * blocks * pixels * lanes * steps, knobs, target)
    ahead = knobs.choice("rows_ahead", ROWS_AHEAD, 4)
    read = tuple(int(size) for size in work.inputs[0].shape)
    each = width // tile.pixels
    return later_rows(ahead, read, (rows, each), (acc, image), [units, group, tiles])
