"""Depthwise convolution with TE: the loops of :mod:`tvm_mobilenet.schedules.cpu.depthwise`.

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

from tvm_mobilenet.schedules.cpu.depthwise import MOST_PIXELS, row_tile, tap_rows
from tvm_mobilenet.schedules.cpu.prefetch import Prefetch
from tvm_mobilenet.schedules.cpu.threads import choose_pieces, divisors
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.te.definition import Definition, extents
from tvm_mobilenet.schedules.te.micro_kernel import keep_in_registers, share, write_back

from tvm_mobilenet.target import TargetSpec


def schedule_depthwise(
    s: Any, work: Definition, knobs: Knobs, target: TargetSpec
) -> list[Prefetch]:
    """Schedule a depthwise convolution.

    Parameters
    ----------
    s : te.Schedule
    work : Definition
    knobs : Knobs
        ``pixels``: accumulators; ``row_groups``: pieces that a map is cut into;
        ``tap_rows``: unrolled or a loop; ``threads``: all or one.
    target : TargetSpec

    Returns
    -------
    list of Prefetch
        None: there is one long stream.
    """
    accumulate = work.stage("accumulate")
    batch, blocks, pixels, lanes = extents(work.out.op.axis)
    width = work.out_width
    rows = pixels // width
    tap_extents = extents(accumulate.op.reduce_axis)

    best = row_tile(width, target)
    tiles_of_row = divisors(width, MOST_PIXELS)
    tile = knobs.choice("pixels", tiles_of_row, best if width % best == 0 else tiles_of_row[-1])
    taps = knobs.choice("tap_rows", ["unrolled", "loop"], tap_rows(tap_extents[0], width, target))
    groups = choose_pieces(knobs, "row_groups", divisors(rows), batch * blocks, target)

    s[work.stage("padded")].compute_inline()
    out = s[work.out]
    n, o, p, c = out.op.axis
    row, column = out.split(p, width)
    row_group, row = out.split(row, nparts=groups)
    tiles, pixel = out.split(column, tile)
    out.reorder(n, o, row_group, row, tiles, pixel, c)
    units = out.fuse(n, o, row_group)
    acc = s[accumulate]
    acc.compute_at(out, tiles)
    image, block, tile_pixels, tile_lanes = acc.op.axis
    r, q = acc.op.reduce_axis
    keep_in_registers(acc, [image, block], [r, q], [tile_pixels], tile_lanes)
    if taps == "unrolled":
        acc.unroll(r)
    acc.unroll(q)
    write_back(out, [pixel], c)
    macs = batch * blocks * pixels * lanes * tap_extents[0] * tap_extents[1]
    share(out, units, batch * blocks * groups, macs, knobs, target)
    return []
