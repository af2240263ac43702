"""Depthwise-separable block with TE: the loops of ``tensorir/cpu/separable``.

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
    The depthwise layer's tile divides the row; a shorter last tile of pixels is compiled
    separately.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.depthwise import RowPlan
from tvm_mobilenet.schedules.plans.separable import SeparablePlan
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.micro_kernel import (
    keep_in_registers,
    peel_tail,
    share,
    write_back,
)
from tvm_mobilenet.schedules.te.prefetch import for_others
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch
from tvm_mobilenet.schedules.tensorir.cpu.separable import sweep_prefetches


def schedule_separable(s: Any, made: Definition, plan: SeparablePlan) -> list[Prefetch]:
    """Schedule a depthwise-separable block."""
    s[made.stage("padded")].compute_inline()
    out, accumulate = s[made.out], s[made.stage("accumulate")]
    mid, filtered = s[made.stage("mid")], s[made.stage("filtered")]
    n, o, p, c = out.op.axis
    chunk, rest = out.split(p, plan.chunk_pixels)
    tiles, pixel = out.split(rest, plan.tile.pixels)
    split, group = out.split(o, nparts=plan.splits)
    group, vector = out.split(group, plan.tile.vectors)
    out.reorder(n, chunk, split, group, tiles, pixel, vector, c)
    units = out.fuse(n, chunk, split)
    accumulate.compute_at(out, tiles)
    image, vectors, tile_pixels, tile_lanes = accumulate.op.axis
    outer, inner = accumulate.split(accumulate.op.reduce_axis[0], plan.inner)
    keep_in_registers(accumulate, [image], [outer, inner], [tile_pixels, vectors], tile_lanes)
    write_back(out, [pixel, vector], c)
    if plan.chunk_pixels % plan.tile.pixels:
        peel_tail(out, tiles)

    mid.compute_at(out, units)
    _filter_rows(mid, filtered, plan.row)

    share(out, units, parallel=plan.parallel)
    at, loops = (accumulate, inner), [units, group, tiles, outer]
    others = for_others(made, at, loops, [plan.units, *plan.extents])
    return [*sweep_prefetches(made.work, plan, at, loops), *others]


def _filter_rows(mid: Any, filtered: Any, plan: RowPlan) -> None:
    """Schedule the depthwise layer of a row group: tile after tile of each row."""
    image, block, pixels, lanes = mid.op.axis
    row, column = mid.split(pixels, plan.width)
    tiles, pixel = mid.split(column, plan.pixels)
    mid.reorder(image, block, row, tiles, pixel, lanes)
    filtered.compute_at(mid, tiles)
    own_image, own_block, own_pixels, own_lanes = filtered.op.axis
    r, q = filtered.op.reduce_axis
    keep_in_registers(filtered, [own_image, own_block], [r, q], [own_pixels], own_lanes)
    if plan.unrolled:
        filtered.unroll(r)
    filtered.unroll(q)
    write_back(mid, [pixel], lanes)
