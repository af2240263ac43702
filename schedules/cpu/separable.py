"""Depthwise-separable block: what passes between its two convolutions never leaves L2.

Pattern
    ``padded`` into ``filtered(n, k, p, c; r, q)`` into ``mid(n, k, p, c)`` into
    ``accumulate(n, o, p, c; k)`` into ``out(n, o, p, c)``, operator "separable".

Loop nest, outer to inner
    (n, row group, channel split) on threads → first the depthwise layer:
    channel block → row → tile of pixels → taps, unrolled → pixels → lanes, into a
    buffer of the row group; then the pointwise layer: vector group → tiles of
    the row group's pixels → reduction → pixels of the tile → vectors → lanes

    Channel splits give threads work where a map has too few rows; each of them
    computes the whole depthwise layer of its rows (2% of the work at 7 x 7 x 512).

Registers
    As the two micro-kernels: 7 + 9 + 2 of 32, then 7 x 2 + 2 + 1.

Traffic
    The row group's buffer and its input hold at most half of L2 together: at stride 2
    the input is four times the buffer, and would push it out. Input and output pass
    once; a row group's first and last rows are read again by its neighbours. Each
    row group reads all weights again, so they are prefetched a panel ahead where
    they are too large to stay in L2.

Bound
    Multiply-add throughput. In MobileNet V1 1.0/224 on Zen 5, against two kernels in
    turns, one / two threads, µs: block 1 290 for 298 / 152 for 155; block 2 281 for
    275 / 148 for 145; block 3 494 for 497 / 252 for 258; block 5 473 for 491 / 242
    for 258; blocks 7 to 11 464 for 462 / 238 for 246 each (benchmarks/traffic.py).

What lost
    Prefetching the next row group's input: +20 to +40 µs at 112 x 112 x 32; 6 µs
    gained at 56 x 56 x 128. Tiles outside, vector groups inside: the same. Two rows
    a group, so that the buffer stays in L1: 284 for 272 at 112 x 112 x 32. The first
    convolution in the same function, by bands of 28 rows: what its output no longer
    costs, block 2 pays, whose buffers nobody has touched lately.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm_mobilenet.schedules.cpu.depthwise import MOST_PIXELS, row_tile, settle_tail, tap_rows
from tvm_mobilenet.schedules.cpu.micro_kernel import (
    extent,
    keep_in_registers,
    out_width,
    peel_tail,
    write_back,
)
from tvm_mobilenet.schedules.cpu.pointwise import choose_tile, inner_steps
from tvm_mobilenet.schedules.cpu.prefetch import Prefetch, for_others, next_panel
from tvm_mobilenet.schedules.cpu.row_groups import choose_rows, row_group_tile
from tvm_mobilenet.schedules.cpu.threads import share
from tvm_mobilenet.schedules.cpu.tile import Tile
from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.target import TargetSpec


def schedule_separable(sch: Any, knobs: Knobs, target: TargetSpec) -> list[Prefetch]:
    """Schedule a depthwise-separable block.

    Parameters
    ----------
    sch : s_tir.Schedule
        Over the function of a separable workload.
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
    filtered, mid = sch.get_sblock("filtered"), sch.get_sblock("mid")
    accumulate, out = sch.get_sblock("accumulate"), sch.get_sblock("out")
    n, o, p, c = sch.get_loops(out)
    batch, blocks, pixels, lanes = (extent(sch, loop) for loop in (n, o, p, c))
    in_blocks, in_lanes = (extent(sch, sch.get_loops(mid)[i]) for i in (1, 3))
    depth = extent(sch, sch.get_loops(accumulate)[-1])
    height, width = pixels // out_width(sch), out_width(sch)

    in_pixels = int(sch.mod["main"].params[0].ty.shape[2])
    tile, rows, splits = choose_row_groups(
        knobs,
        target,
        (batch, height, width),
        (blocks, lanes, depth),
        (in_pixels, in_blocks * in_lanes),
        math.prod(extent(sch, loop) for loop in sch.get_loops(filtered)[-2:]),
    )
    groups = blocks // tile.vectors
    chunks, chunk_pixels = height // rows, rows * width
    tap_count = extent(sch, sch.get_loops(filtered)[-2])
    mid_pixels = knobs.choice(
        "mid_pixels", range(1, min(MOST_PIXELS, width) + 1), row_tile(width, target)
    )
    taps = knobs.choice("tap_rows", ["unrolled", "loop"], tap_rows(tap_count, width, target))

    chunk, rest = sch.split(p, [chunks, chunk_pixels])
    tile_loop, pixel = sch.split(rest, [None, tile.pixels])
    split, group, vector = sch.split(o, [splits, groups // splits, tile.vectors])
    sch.reorder(n, chunk, split, group, tile_loop, pixel, vector, c)
    units = sch.fuse(n, chunk, split)
    sch.compute_at(accumulate, tile_loop, preserve_unit_loops=True)
    vectors, tile_pixels, tile_lanes, k = sch.get_loops(accumulate)[-4:]
    steps = inner_steps(depth, lanes, target)
    outer, inner = sch.split(k, [None, steps])

    sch.compute_at(mid, units, preserve_unit_loops=True)
    mid_pixel, mid_lanes = sch.get_loops(mid)[-2:]
    _, mid_column = sch.split(mid_pixel, [rows, width])
    mid_tile, mid_pixel = sch.split(mid_column, [None, mid_pixels])
    sch.compute_at(filtered, mid_tile, preserve_unit_loops=True)
    filtered_pixels, filtered_lanes, r, q = sch.get_loops(filtered)[-4:]
    sch.compute_inline(sch.get_sblock("padded"))

    share(sch, units, batch * blocks * pixels * lanes * depth, knobs, target)
    if taps == "unrolled":
        sch.unroll(r)
    sch.unroll(q)
    keep_in_registers(sch, filtered, [r, q], [filtered_pixels], filtered_lanes)
    write_back(sch, [mid_pixel], mid_lanes)
    settle_tail(sch, mid_tile, width, mid_pixels)
    keep_in_registers(sch, accumulate, [outer, inner], [tile_pixels, vectors], tile_lanes)
    write_back(sch, [pixel, vector], c)
    peel_tail(sch, tile_loop)

    choice = choose_prefetch(knobs, 4 * depth * blocks * lanes, target)
    sweep = Sweep(
        tile.vectors,
        (splits, groups // splits),
        -(-chunk_pixels // tile.pixels),
        (depth // steps, steps, lanes),
        (chunks, in_pixels // chunks, in_blocks),
    )
    loops = [units, group, tile_loop, outer]
    others = for_others(sch, loops, [batch * chunks * splits, *sweep.extents])
    return [*sweep_prefetches(choice, sweep, outer, loops), *others]


def choose_row_groups(  # noqa: PLR0917  the sizes of both layers
    knobs: Knobs,
    target: TargetSpec,
    out: tuple[int, int, int],
    product: tuple[int, int, int],
    read: tuple[int, int],
    taps: int,
) -> tuple[Tile, int, int]:
    """Ask for the tile of the pointwise layer, and how the work is cut into units.

    Parameters
    ----------
    knobs : Knobs
        ``vectors`` and ``pixels``, ``rows`` and ``splits``.
    target : TargetSpec
    out : tuple of int
        Images, rows and columns of the output.
    product : tuple of int
        Output blocks, channels of each, steps of the reduction.
    read : tuple of int
        Pixels and channels of the input map.
    taps : int
        Of the depthwise layer.

    Returns
    -------
    Tile, int, int
        Output rows of a group, and pieces of the channels.
    """
    blocks, lanes, depth = product
    _, height, width = out
    in_pixels, in_channels = read
    best = row_group_tile(out, blocks, depth, target)
    tile = choose_tile(knobs, best, height * width, blocks, target)
    rows, splits = choose_rows(
        knobs,
        target,
        out,
        4 * in_channels * (width + in_pixels // height),
        tile.pixels,
        blocks // tile.vectors,
        taps / (blocks * lanes),
    )
    return tile, rows, splits


@dataclass(frozen=True, slots=True)
class Sweep:
    """How the pointwise layer of a row group goes over its weights.

    Attributes
    ----------
    vectors : int
        Blocks in a vector group.
    groups : tuple of int
        Units that share the channels between them, and vector groups in each.
    tiles : int
        Of a row group's pixels.
    reduction : tuple of int
        Outer steps, inner steps of each, channels in a block of weights.
    rows : tuple of int
        Row groups of a map, input pixels of each, input blocks.
    """

    vectors: int
    groups: tuple[int, int]
    tiles: int
    reduction: tuple[int, int, int]
    rows: tuple[int, int, int]

    @property
    def extents(self) -> list[int]:
        """Iterations of the loops inside a unit, from the vector groups to the outer steps."""
        return [self.groups[1], self.tiles, self.reduction[0]]


def sweep_prefetches(choice: str, sweep: Sweep, at: Any, loops: Sequence[Any]) -> list[Prefetch]:
    """Prefetch what comes next, evenly through a row group's pointwise layer.

    Parameters
    ----------
    choice : {"none", "weights", "input"}
        Weights: the next vector group's; input: the next row group's.
    sweep : Sweep
    at : LoopRV
        The innermost of `loops`.
    loops : sequence of LoopRV
        Units, vector groups, tiles, and outer steps of the reduction.

    Returns
    -------
    list of Prefetch
    """
    if choice == "none":
        return []
    if choice == "input":
        return [_next_rows(sweep, at, loops)]
    outer, steps, lanes = sweep.reduction
    return [
        next_panel(
            at,
            loops,
            parameter=3,
            depth=outer * steps,
            lanes=lanes,
            vectors=sweep.vectors,
            steps=(sweep.tiles, outer),
            groups=sweep.groups,
        )
    ]


def _next_rows(sweep: Sweep, at: Any, loops: Sequence[Any]) -> Prefetch:
    """Prefetch the next row group's input during the present one's pointwise layer."""
    (splits, sweeps), (chunks, ahead, in_blocks) = sweep.groups, sweep.rows
    spots = -(-ahead // (sweeps * sweep.tiles))
    each = -(-in_blocks // sweep.reduction[0])

    def indices(unit: Any, group: Any, tile: Any, step: Any) -> list[tuple[Any, ...]]:
        image, rank = unit // (splits * chunks), unit // splits % chunks
        first = (rank + 1) * ahead + (group * sweep.tiles + tile) * spots
        return [
            (image, step * each + block, first + i, 0)
            for block in range(each)
            for i in range(spots)
        ]

    return Prefetch(at, 0, indices, loops)


def choose_prefetch(knobs: Knobs, weight_bytes: int, target: TargetSpec) -> str:
    """Ask what to prefetch: weights, where they are too large to have stayed in L2."""
    large = weight_bytes >= target.l2_bytes / 8 > 0
    return knobs.choice("prefetch", ["none", "weights", "input"], "weights" if large else "none")
