"""Pointwise convolution with TE: the loops of :mod:`tvm_mobilenet.schedules.cpu.pointwise`.

Pattern
    Stages ``accumulate(n, o, p, c; k)`` and ``out(n, o, p, c)``, operator "pointwise".

Loop nest, outer to inner
    (n, pixel chunk, vector group) on threads → tiles of pixels in the chunk →
    reduction: channel step outer, step inner → pixels of the tile → vectors → lanes

Registers
    pixels x vectors accumulators, one weight vector per output vector, one
    broadcast: 7 x 2 + 2 + 1 = 17 of 32 with AVX-512, 6 x 2 + 2 + 1 = 15 of 16
    with AVX2.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.cpu.pointwise import (
    Places,
    choose_tile,
    inner_steps,
    prefetched,
    what_to_prefetch,
)
from tvm_mobilenet.schedules.cpu.prefetch import Prefetch
from tvm_mobilenet.schedules.cpu.threads import ELEMENT, choose_chunks
from tvm_mobilenet.schedules.cpu.tile import best_tile, chunk_options
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


def schedule_pointwise(
    s: Any, work: Definition, knobs: Knobs, target: TargetSpec
) -> list[Prefetch]:
    """Schedule a pointwise convolution.

    Parameters
    ----------
    s : te.Schedule
    work : Definition
    knobs : Knobs
        ``vectors`` and ``pixels``: accumulators; ``chunks``: pieces that the pixels
        are cut into; ``prefetch``: none, input or weights; ``threads``: all or one.
    target : TargetSpec

    Returns
    -------
    list of Prefetch
    """
    accumulate = work.stage("accumulate")
    batch, blocks, pixels, lanes = extents(work.out.op.axis)
    (depth,) = extents(accumulate.op.reduce_axis)

    best = best_tile(pixels, blocks, depth, target, batch)
    tile = choose_tile(knobs, best, pixels, blocks, target)
    groups = blocks // tile.vectors
    options = chunk_options(pixels, tile)
    chunks = choose_chunks(knobs, options, 4 * depth * pixels, batch * groups, target)

    out = s[work.out]
    n, o, p, c = out.op.axis
    tiles, pixel = out.split(p, tile.pixels)
    chunk, tiles = out.split(tiles, nparts=chunks)
    group, vector = out.split(o, tile.vectors)
    out.reorder(n, chunk, group, tiles, pixel, vector, c)
    units = out.fuse(n, chunk, group)
    acc = s[accumulate]
    acc.compute_at(out, tiles)
    image, vectors, tile_pixels, tile_lanes = acc.op.axis
    steps = inner_steps(depth, lanes, target)
    outer, inner = acc.split(acc.op.reduce_axis[0], steps)
    keep_in_registers(acc, [image], [outer, inner], [tile_pixels, vectors], tile_lanes)
    write_back(out, [pixel, vector], c)
    macs = blocks * lanes * depth * max(batch * pixels, ELEMENT)
    share(out, units, batch * chunks * groups, macs, knobs, target)

    default = what_to_prefetch(pixels, chunks, depth, target)
    choice = knobs.choice("prefetch", ["none", "input", "weights"], default)
    if pixels % tile.pixels:
        peel_tail(out, tiles)
    each = -(-pixels // tile.pixels) // chunks
    in_block = int(work.inputs[0].shape[-1])
    places = Places(tile, groups, chunks, each, depth // steps, steps, (in_block, lanes))
    at, loops = (acc, inner), [units, tiles, outer]
    others = for_others(work, at, loops, [batch * chunks * groups, each, depth // steps])
    return [*prefetched(choice, places, at, loops), *others]
