"""Pointwise convolution with TE: the loops of ``tensorir/cpu/pointwise``.

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

from tvm_mobilenet.schedules.plans.pointwise import PointwisePlan
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.micro_kernel import (
    keep_in_registers,
    peel_tail,
    share,
    write_back,
)
from tvm_mobilenet.schedules.te.prefetch import for_others
from tvm_mobilenet.schedules.tensorir.cpu.pointwise import prefetched
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch


def schedule_pointwise(s: Any, made: Definition, plan: PointwisePlan) -> list[Prefetch]:
    """Schedule a pointwise convolution."""
    out, accumulate = s[made.out], s[made.stage("accumulate")]
    n, o, p, c = out.op.axis
    tiles, pixel = out.split(p, plan.tile.pixels)
    chunk, tiles = out.split(tiles, nparts=plan.chunks)
    group, vector = out.split(o, plan.tile.vectors)
    out.reorder(n, chunk, group, tiles, pixel, vector, c)
    units = out.fuse(n, chunk, group)
    accumulate.compute_at(out, tiles)
    image, vectors, tile_pixels, tile_lanes = accumulate.op.axis
    outer, inner = accumulate.split(accumulate.op.reduce_axis[0], plan.inner)
    keep_in_registers(accumulate, [image], [outer, inner], [tile_pixels, vectors], tile_lanes)
    write_back(out, [pixel, vector], c)
    share(out, units, parallel=plan.parallel)
    if made.work.out_pixels % plan.tile.pixels:
        peel_tail(out, tiles)
    at, loops = (accumulate, inner), [units, tiles, outer]
    others = for_others(made, at, loops, [plan.units, plan.tiles, plan.outer])
    return [*prefetched(made.work, plan, at, loops), *others]
