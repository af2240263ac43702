"""Depthwise-separable block with TE: the loops of :mod:`tvm_mobilenet.schedules.cpu.separable`.

Pattern
    Stages ``padded``, ``filtered(n, k, p, c; r, q)``, ``mid(n, k, p, c)``,
    ``accumulate(n, o, p, c; k)`` and ``out(n, o, p, c)``, operator "separable".

Loop nest, outer to inner
    (n, row group, channel split) on threads → first the depthwise layer:
    channel block → row → tile of pixels → taps, unrolled → pixels → lanes, into a
    buffer of the row group; then the pointwise layer: vector group → tiles of
    the row group's pixels → reduction → pixels of the tile → vectors → lanes

Registers
    As the two micro-kernels: 7 + 9 + 2 of 32, then 7 x 2 + 2 + 1.

Tails
    The depthwise layer's tile divides the row; a last tile of pixels is compiled apart.
"""

from __future__ import annotations

import math
from typing import Any

from tvm_mobilenet.schedules.cpu.depthwise import MOST_PIXELS, row_tile, tap_rows
from tvm_mobilenet.schedules.cpu.pointwise import inner_steps
from tvm_mobilenet.schedules.cpu.prefetch import Prefetch
from tvm_mobilenet.schedules.cpu.separable import (
    Sweep,
    choose_prefetch,
    choose_row_groups,
    sweep_prefetches,
)
from tvm_mobilenet.schedules.cpu.threads import divisors
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.te.definition import Definition, extents
from tvm_mobilenet.schedules.te.micro_kernel import (
    keep_in_registers,
    peel_tail,
    share,
    write_back,
)
from tvm_mobilenet.schedules.te.prefetch import for_others

from tvm_mobilenet.target import TargetSpec


def schedule_separable(
    s: Any, work: Definition, knobs: Knobs, target: TargetSpec
) -> list[Prefetch]:
    """Schedule a depthwise-separable block.

    Parameters
    ----------
    s : te.Schedule
    work : Definition
    knobs : Knobs
        ``rows``: output rows in a group; ``vectors`` and ``pixels``: accumulators
        of the pointwise layer; ``splits``: pieces that output channels are cut into;
        ``mid_pixels`` and ``tap_rows``: of the depthwise layer, as its own; ``threads``: all or
        one; ``prefetch``: none, weights, or input.
    target : TargetSpec

    Returns
    -------
    list of Prefetch
    """
    filtered, middle = work.stage("filtered"), work.stage("mid")
    accumulate = work.stage("accumulate")
    batch, blocks, pixels, lanes = extents(work.out.op.axis)
    _, in_blocks, _, in_lanes = extents(middle.op.axis)
    (depth,) = extents(accumulate.op.reduce_axis)
    taps = extents(filtered.op.reduce_axis)
    width = work.out_width
    height = pixels // width

    in_pixels = int(work.inputs[0].shape[2])
    tile, rows, splits = choose_row_groups(
        knobs,
        target,
        (batch, height, width),
        (blocks, lanes, depth),
        (in_pixels, in_blocks * in_lanes),
        math.prod(taps),
    )
    groups = blocks // tile.vectors
    chunks, chunk_pixels = height // rows, rows * width
    tiles_of_row = divisors(width, MOST_PIXELS)
    even = row_tile(width, target)
    mid_pixels = knobs.choice(
        "mid_pixels", tiles_of_row, even if width % even == 0 else tiles_of_row[-1]
    )
    unrolled = knobs.choice("tap_rows", ["unrolled", "loop"], tap_rows(taps[0], width, target))

    s[work.stage("padded")].compute_inline()
    out, acc, mid, filt = s[work.out], s[accumulate], s[middle], s[filtered]
    n, o, p, c = out.op.axis
    chunk, rest = out.split(p, chunk_pixels)
    tiles, pixel = out.split(rest, tile.pixels)
    split, group = out.split(o, nparts=splits)
    group, vector = out.split(group, tile.vectors)
    out.reorder(n, chunk, split, group, tiles, pixel, vector, c)
    units = out.fuse(n, chunk, split)
    acc.compute_at(out, tiles)
    image, vectors, tile_pixels, tile_lanes = acc.op.axis
    steps = inner_steps(depth, lanes, target)
    outer, inner = acc.split(acc.op.reduce_axis[0], steps)
    keep_in_registers(acc, [image], [outer, inner], [tile_pixels, vectors], tile_lanes)
    write_back(out, [pixel, vector], c)
    if chunk_pixels % tile.pixels:
        peel_tail(out, tiles)

    mid.compute_at(out, units)
    _filter_rows(mid, filt, width, mid_pixels, unrolled == "unrolled")

    macs = batch * blocks * pixels * lanes * depth
    share(out, units, batch * chunks * splits, macs, knobs, target)
    choice = choose_prefetch(knobs, 4 * depth * blocks * lanes, target)
    sweep = Sweep(
        tile.vectors,
        (splits, groups // splits),
        -(-chunk_pixels // tile.pixels),
        (depth // steps, steps, lanes),
        (chunks, in_pixels // chunks, in_blocks),
    )
    loops = [units, group, tiles, outer]
    others = for_others(work, (acc, inner), loops, [batch * chunks * splits, *sweep.extents])
    return [*sweep_prefetches(choice, sweep, (acc, inner), loops), *others]


def _filter_rows(mid: Any, filtered: Any, width: int, tile: int, unrolled: bool) -> None:
    """Schedule the depthwise layer of a row group: tile after tile of each row."""
    image, block, pixels, lanes = mid.op.axis
    row, column = mid.split(pixels, width)
    tiles, pixel = mid.split(column, tile)
    mid.reorder(image, block, row, tiles, pixel, lanes)
    filtered.compute_at(mid, tiles)
    own_image, own_block, own_pixels, own_lanes = filtered.op.axis
    r, q = filtered.op.reduce_axis
    keep_in_registers(filtered, [own_image, own_block], [r, q], [own_pixels], own_lanes)
    if unrolled:
        filtered.unroll(r)
    filtered.unroll(q)
    write_back(mid, [pixel], lanes)
