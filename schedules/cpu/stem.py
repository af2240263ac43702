"""Stem."""

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
from tvm_mobilenet.schedules.cpu.threads import share
from tvm_mobilenet.schedules.cpu.tile import best_tile
from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.target import TargetSpec


def schedule_stem(sch: Any, knobs: Knobs, target: TargetSpec) -> list[Prefetch]:
    conv, first = sch.get_sblock("conv"), sch.get_sblock("first")
    filtered, mid = sch.get_sblock("filtered"), sch.get_sblock("mid")
    accumulate, out = sch.get_sblock("accumulate"), sch.get_sblock("out")
    n, o, p, c = sch.get_loops(out)
    batch, blocks, pixels, lanes = (extent(sch, loop) for loop in (n, o, p, c))
    _, in_blocks, _, first_width, _ = (extent(sch, loop) for loop in sch.get_loops(first))
    depth = extent(sch, sch.get_loops(accumulate)[-1])
    width = out_width(sch)
    height = pixels // width
    bands = knobs.choice("bands", [b for b in range(1, height + 1) if height % b == 0], 4)
    rows = knobs.choice("rows", [r for r in range(1, height + 1) if height // bands % r == 0], 4)
    subs, chunk_pixels = height // bands // rows, rows * width
    tile = choose_tile(
        knobs, best_tile(chunk_pixels, blocks, depth, target, 1, 1), chunk_pixels, blocks, target
    )
    groups = blocks // tile.vectors

    band, sub, rest = sch.split(p, [bands, subs, chunk_pixels])
    tile_loop, pixel = sch.split(rest, [None, tile.pixels])
    group, vector = sch.split(o, [None, tile.vectors])
    sch.reorder(n, band, sub, group, tile_loop, pixel, vector, c)
    units = sch.fuse(n, band)
    sch.compute_at(accumulate, tile_loop, preserve_unit_loops=True)
    vectors, tile_pixels, tile_lanes, k = sch.get_loops(accumulate)[-4:]
    outer, inner = sch.split(k, [None, _inner_steps(depth, lanes)])

    sch.compute_at(mid, sub, preserve_unit_loops=True)
    mid_pixel, mid_lanes = sch.get_loops(mid)[-2:]
    most = min(8 if target.registers >= 32 else 5, width)
    mid_row, mid_column = sch.split(mid_pixel, [rows, width])
    mid_tile, mid_pixel = sch.split(mid_column, [None, row_tile(width, most)])
    sch.compute_at(filtered, mid_tile, preserve_unit_loops=True)
    f_pixels, f_lanes, r, q = sch.get_loops(filtered)[-4:]
    sch.compute_inline(sch.get_sblock("padded"))

    sch.compute_at(first, units, preserve_unit_loops=True)
    f_block, f_row, f_column, first_lanes = sch.get_loops(first)[-4:]
    f_tile, f_pixel = sch.split(f_column, [None, knobs.choice("first_pixels", range(4, 15), 8)])
    sch.reorder(f_row, f_tile, f_pixel, f_block, first_lanes)
    sch.compute_at(conv, f_tile, preserve_unit_loops=True)
    *_, c_block, c_row, c_pixel, c_lanes, ci, cr, cq = sch.get_loops(conv)
    sch.compute_inline(sch.get_sblock("image"))

    share(sch, units, batch * blocks * pixels * lanes * depth, knobs, target)
    keep_in_registers(sch, conv, [ci, cr, cq], [c_pixel, c_block], c_lanes)
    write_back(sch, [f_pixel, f_block], first_lanes)
    sch.unroll(r)
    sch.unroll(q)
    keep_in_registers(sch, filtered, [r, q], [f_pixels], f_lanes)
    write_back(sch, [mid_pixel], mid_lanes)
    keep_in_registers(sch, accumulate, [outer, inner], [tile_pixels, vectors], tile_lanes)
    write_back(sch, [pixel, vector], c)
    if knobs.choice("show", [0, 1], 0):
        print(sch.mod.script())

    found = []
    _, channels, in_height, in_width = (int(size) for size in sch.mod["main"].params[0].ty.shape)
    stride = max(round(in_height / height), 1)
    rows_ahead = knobs.choice("rows_ahead", [0, 1, 2, 4, 8, 16], 4)
    if rows_ahead:

        def next_rows(unit: Any, row: Any, line: Any) -> list[tuple[Any, ...]]:
            top = (unit % bands * (height // bands) + row - 1 + rows_ahead) * stride
            return [
                (unit // bands, channel, top + i, line * LINE)
                for channel in range(channels)
                for i in range(stride)
            ]

        found.append(Prefetch(f_row, 0, next_rows, [units, f_row], -(-in_width // LINE)))
    ahead = knobs.choice("out_ahead", [0, 1, 2, 4, 8, 16, 32], 8)
    if ahead:
        def next_out(unit, s, g, t):
            px = ((unit % bands * subs + s) * chunk_pixels) + (t + ahead) * tile.pixels
            return [(unit // bands, g * tile.vectors + v, px + i, 0) for v in range(tile.vectors) for i in range(tile.pixels)]
        found.append(Prefetch(tile_loop, len(sch.mod["main"].params) - 1, next_out, [units, sub, group, tile_loop], write=True))
    return found
