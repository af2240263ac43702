"""Depthwise-separable block."""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.cpu.depthwise import row_tile
from tvm_mobilenet.schedules.cpu.micro_kernel import (
    extent,
    keep_in_registers,
    out_width,
    write_back,
)
from tvm_mobilenet.schedules.cpu.pointwise import _inner_steps, choose_tile
from tvm_mobilenet.schedules.cpu.prefetch import LINE, Prefetch
from tvm_mobilenet.schedules.cpu.threads import imbalance, share
from tvm_mobilenet.schedules.cpu.tile import best_tile
from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.target import TargetSpec


def schedule_separable(sch: Any, knobs: Knobs, target: TargetSpec) -> list[Prefetch]:
    filtered, mid = sch.get_sblock("filtered"), sch.get_sblock("mid")
    accumulate, out = sch.get_sblock("accumulate"), sch.get_sblock("out")
    n, o, p, c = sch.get_loops(out)
    batch, blocks, pixels, lanes = (extent(sch, loop) for loop in (n, o, p, c))
    _, in_blocks, _, in_lanes = (extent(sch, loop) for loop in sch.get_loops(mid))
    depth = extent(sch, sch.get_loops(accumulate)[-1])
    width = out_width(sch)
    height = pixels // width

    options = [r for r in range(1, height + 1) if height % r == 0]
    rows = knobs.choice("rows", options, options[-1])
    chunks, chunk_pixels = height // rows, rows * width
    best = best_tile(chunk_pixels, blocks, depth, target, batch, chunks)
    tile = choose_tile(knobs, best, chunk_pixels, blocks, target)
    groups = blocks // tile.vectors
    splits = knobs.choice("splits", [s for s in range(1, groups + 1) if groups % s == 0], 1)
    order = knobs.choice("order", ["groups", "tiles"], "groups")
    most = min(8 if target.registers >= 32 else 5, width)
    mid_pixels = knobs.choice("mid_pixels", range(1, most + 1), row_tile(width, most))

    chunk, rest = sch.split(p, [chunks, chunk_pixels])
    tile_loop, pixel = sch.split(rest, [None, tile.pixels])
    split, group, vector = sch.split(o, [splits, groups // splits, tile.vectors])
    nest = [group, tile_loop] if order == "groups" else [tile_loop, group]
    sch.reorder(n, chunk, split, *nest, pixel, vector, c)
    units = sch.fuse(n, chunk, split)
    sch.compute_at(accumulate, nest[-1], preserve_unit_loops=True)
    vectors, tile_pixels, tile_lanes, k = sch.get_loops(accumulate)[-4:]
    if order == "tiles":
        pass
    steps = _inner_steps(depth, lanes)
    outer, inner = sch.split(k, [None, steps])

    sch.compute_at(mid, units, preserve_unit_loops=True)
    mid_block, mid_pixel, mid_lanes = sch.get_loops(mid)[-3:]
    mid_row, mid_column = sch.split(mid_pixel, [rows, width])
    mid_tile, mid_pixel = sch.split(mid_column, [None, mid_pixels])
    sch.compute_at(filtered, mid_tile, preserve_unit_loops=True)
    f_pixels, f_lanes, r, q = sch.get_loops(filtered)[-4:]
    sch.compute_inline(sch.get_sblock("padded"))

    share(sch, units, batch * blocks * pixels * lanes * depth, knobs, target)
    sch.unroll(r)
    sch.unroll(q)
    keep_in_registers(sch, filtered, [r, q], [f_pixels], f_lanes)
    write_back(sch, [mid_pixel], mid_lanes)
    keep_in_registers(sch, accumulate, [outer, inner], [tile_pixels, vectors], tile_lanes)
    write_back(sch, [pixel, vector], c)

    return prefetches(sch, knobs, locals())


def prefetches(sch, knobs, v):
    """Spread the lines of the next unit's input, and of the next weight panel, over the k loop."""
    what = knobs.choice("prefetch", ["none", "input", "weights", "both"], "none")
    sch_data = [int(x) for x in sch.mod["main"].params[0].ty.shape]
    in_pixels = sch_data[2]
    depth, steps, rows, height = v["depth"], v["steps"], v["rows"], v["height"]
    tile, groups, splits, chunks = v["tile"], v["groups"], v["splits"], v["chunks"]
    tiles = -(-v["chunk_pixels"] // tile.pixels)
    ko = depth // steps
    loops = [v["units"], *v["nest"], v["outer"]]
    sweeps = groups // splits
    result = []
    in_lanes, lanes = v["in_lanes"], v["lanes"]

    def at(a, b, step):  # position in the unit's micro-kernel steps
        inner_extent = tiles if v["order"] == "groups" else sweeps
        return (a * inner_extent + b) * ko + step

    if what in ("input", "both") and chunks > 1:
        total = sweeps * tiles * ko
        lines = in_pixels // chunks  # per channel block
        per = -(-v["in_blocks"] * lines // total)
        knob_lead = 0

        def next_unit(unit, a, b, step):
            places = [at(a, b, step) * per + i for i in range(per)]
            unit = unit // splits
            image, first = unit // chunks, (unit % chunks + 1) * lines + 2 * 0
            return [(image, pl // lines, first + pl % lines, 0) for pl in places]

        result.append(Prefetch(v["outer"], 0, next_unit, loops))
    if what in ("weights", "both") and v["order"] == "groups":
        each = -(-tile.vectors * depth // (tiles * ko))

        def next_group(unit, a, b, step):
            first = (b * ko + step) * each
            group = ((unit % splits) * sweeps + (a + 1) % sweeps) * tile.vectors
            places = [first + i for i in range(each)]
            return [(group + pl // depth, pl % depth, 0) for pl in places]

        result.append(Prefetch(v["outer"], 3, next_group, loops))
    return result
