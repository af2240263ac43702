"""Tail."""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.cpu.micro_kernel import extent, keep_in_registers, write_back
from tvm_mobilenet.schedules.cpu.pointwise import _inner_steps, choose_tile
from tvm_mobilenet.schedules.cpu.prefetch import LINE, Prefetch
from tvm_mobilenet.schedules.cpu.threads import share
from tvm_mobilenet.schedules.cpu.tile import best_tile
from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.target import TargetSpec


def schedule_tail(sch: Any, knobs: Knobs, target: TargetSpec) -> list[Prefetch]:
    accumulate, act = sch.get_sblock("accumulate"), sch.get_sblock("act")
    total, mean = sch.get_sblock("total"), sch.get_sblock("mean")
    logits, out = sch.get_sblock("logits"), sch.get_sblock("out")
    batch, blocks, pixels, lanes = (extent(sch, loop) for loop in sch.get_loops(act))
    depth = extent(sch, sch.get_loops(accumulate)[-1])
    tile = choose_tile(
        knobs, best_tile(pixels, blocks, depth, target, batch, 0), pixels, blocks, target
    )
    groups = blocks // tile.vectors
    parts = knobs.choice(
        "parts",
        [i for i in range(1, 65) if groups % i == 0],
        target.cores if groups % target.cores == 0 else 1,
    )

    # Products of one group of channels, their sum over a thread's groups, the sum of those.
    n, j, c, i = sch.get_loops(logits)
    group, _ = sch.split(i, [groups, tile.vectors * lanes])
    update = sch.rfactor(group, 1)
    n, j, c, group = sch.get_loops(logits)
    part, group = sch.split(group, [parts, None])
    partial = sch.rfactor(part, 1)
    n, j, c, part, group = sch.get_loops(partial)
    sch.reorder(n, part, group, j, c)
    units = sch.fuse(n, part)
    sch.compute_at(update, j, preserve_unit_loops=True)
    sch.compute_at(mean, group, preserve_unit_loops=True)
    sch.compute_at(total, group, preserve_unit_loops=True)
    t_blocks, t_lanes, p = sch.get_loops(total)[-3:]
    p_tile, p_in = sch.split(p, [None, tile.pixels])
    sch.reorder(p_tile, p_in, t_blocks, t_lanes)
    sch.compute_at(act, p_tile, preserve_unit_loops=True)
    sch.compute_at(accumulate, p_tile, preserve_unit_loops=True)
    vectors, tile_pixels, tile_lanes, k = sch.get_loops(accumulate)[-4:]
    steps = _inner_steps(depth, lanes)
    outer, inner = sch.split(k, [None, steps])
    share(sch, units, batch * blocks * pixels * lanes * depth, knobs, target)
    keep_in_registers(sch, accumulate, [outer, inner], [tile_pixels, vectors], tile_lanes)
    sch.set_scope(act, 0, "local")
    write_back(sch, sch.get_loops(act)[-3:-1], sch.get_loops(act)[-1])
    sch.set_scope(total, 0, "local")
    write_back(sch, [p_in, t_blocks], t_lanes)
    total_init = sch.decompose_reduction(total, p_tile)
    write_back(sch, sch.get_loops(total_init)[-2:-1], sch.get_loops(total_init)[-1])
    sch.vectorize(sch.get_loops(mean)[-1])

    # One block of classes stays in registers while a group's channels are added to it.
    u_lanes, channel = sch.get_loops(update)[-2:]
    keep_in_registers(sch, update, [channel], [], u_lanes)
    sch.vectorize(c)
    class_blocks, jc = extent(sch, j), extent(sch, c)
    init = sch.decompose_reduction(partial, group)
    sch.vectorize(sch.get_loops(init)[-1])
    last = sch.get_loops(logits)
    sch.reorder(last[0], last[1], last[3], last[2])
    sch.vectorize(last[2])
    sch.decompose_reduction(logits, last[3])
    sch.vectorize(sch.get_loops(sch.get_sblock("logits_init"))[-1])
    sch.reverse_compute_at(out, last[1], preserve_unit_loops=True)
    sch.vectorize(sch.get_loops(out)[-1])
    sch.set_scope(mean, 0, "local")

    what = knobs.choice("prefetch", ["none", "weights", "classifier", "both"], "both")
    tiles, k_steps = -(-pixels // tile.pixels), depth // steps
    channels = tile.vectors * lanes
    loops = [units, group, p_tile, outer]
    found = []
    if what in ("weights", "both"):
        each = -(-tile.vectors * depth * lanes // (LINE * tiles * k_steps))
        rows = max(LINE // lanes, 1)

        def next_panel(unit: Any, at: Any, tile_at: Any, step: Any) -> list[tuple[Any, ...]]:
            # A panel's blocks follow each other in memory: one address, constant offsets.
            first = (tile_at * k_steps + step) * each
            block = ((unit % parts) * (groups // parts) + at + 1) * tile.vectors
            return [(block, (first + i) * rows, 0) for i in range(each)]

        found.append(Prefetch(outer, 1, next_panel, loops, keep=knobs.choice("keep", [0, 1, 2, 3], 3)))
    if what in ("classifier", "both"):
        # The rows of a group's channels are one run of memory.
        each = -(-class_blocks * channels * jc // (LINE * tiles * k_steps))

        def own_rows(unit: Any, at: Any, tile_at: Any, step: Any) -> list[tuple[Any, ...]]:
            first = (tile_at * k_steps + step) * each
            block = ((unit % parts) * (groups // parts) + at) * tile.vectors
            return [(block, 0, 0, (first + i) * LINE) for i in range(each)]

        found.append(Prefetch(outer, 3, own_rows, loops, keep=knobs.choice("keep", [0, 1, 2, 3], 3)))
    near = knobs.choice("near", [0, 2, 4, 8], 0)
    if near:

        def next_rows(unit: Any, at: Any, j: Any, i: Any) -> list[tuple[Any, ...]]:
            block = ((unit % parts) * (groups // parts) + at) * tile.vectors
            row = i + near
            return [(block + row // lanes, j, row % lanes, line) for line in range(0, jc, LINE)]

        found.append(Prefetch(channel, 3, next_rows, [units, group, j, channel]))
    return found
