"""Depthwise convolution: nine multiply-adds an element, read straight from the unpadded map.

Pattern
    ``padded`` into ``accumulate(n, o, p, c; r, q)`` into ``out(n, o, p, c)``,
    operator "depthwise".

Loop nest, outer to inner
    (n, channel block, row group) on threads → rows → tiles of pixels in a row →
    taps, unrolled → pixels of the tile → lanes

Registers
    One accumulator a pixel, the input vector, and the filter's taps as memory
    operands or, where there is room, in registers: 7 + 9 + 2 = 18 of 32. With 16
    one pixel at a time, 1 + 9 + 4: LLVM takes the taps out of the loops whatever
    else there is, and spills what they displace. Neighbouring pixels overlap in an
    out-of-order core as if they were one tile (AVX2: 85 to 95% of 7 pixels).

Tails
    A short row that no tile divides is unrolled whole, so that LLVM knows which
    taps are border: 118 GFLOP/s for 66 at 17 x 17, 112 for 68 at 33 x 33.

Traffic
    Reads the map once from L2 or beyond (a tile's rows come from L1 for two of
    its three taps), writes it once. No padded copy exists: the border is a
    predicate on rows and columns, constant over the vector, which the branch
    predictor knows after the first map.

Bound
    Multiply-adds in cache, memory bandwidth beyond. Measured on one Zen 5 core
    (238 GFLOP/s): 165 to 195 GFLOP/s at stride 1, 80 to 130 at stride 2.

What lost
    Staging padded rows in a buffer: 73 µs for 40 at 112 x 112 x 32. 14 pixels a
    tile: spills at stride 1 (57 µs for 40).
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.cpu.micro_kernel import (
    extent,
    keep_in_registers,
    out_width,
    peel_tail,
    write_back,
)
from tvm_mobilenet.schedules.cpu.prefetch import Prefetch
from tvm_mobilenet.schedules.cpu.threads import imbalance, share
from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.target import TargetSpec

MOST_PIXELS = 8

_MOST_TAP_ROWS = 3

_FEW_TILES = 4
"""Tiles in a row up to which a row with a tail is unrolled whole."""


def schedule_depthwise(sch: Any, knobs: Knobs, target: TargetSpec) -> list[Prefetch]:
    """Schedule a depthwise convolution.

    Parameters
    ----------
    sch : s_tir.Schedule
        Over the function of a depthwise workload.
    knobs : Knobs
        ``pixels``: accumulators; ``row_groups``: pieces that a map is cut into;
        ``tap_rows``: unrolled or a loop; ``threads``: all or one.
    target : TargetSpec

    Returns
    -------
    list of Prefetch
        None: the map is one stream, which hardware follows.
    """
    accumulate, out = sch.get_sblock("accumulate"), sch.get_sblock("out")
    n, o, p, c = sch.get_loops(out)
    batch, blocks, pixels, lanes = (extent(sch, loop) for loop in (n, o, p, c))
    width = out_width(sch)
    rows = pixels // width
    *_, r_extent, q_extent = (extent(sch, loop) for loop in sch.get_loops(accumulate))

    most = min(MOST_PIXELS, width)
    tile = knobs.choice("pixels", range(1, most + 1), row_tile(width, target))
    taps = knobs.choice("tap_rows", ["unrolled", "loop"], tap_rows(r_extent, width, target))
    options = range(1, rows + 1)
    groups = knobs.choice(
        "row_groups",
        options,
        min(
            (g for g in options if rows % g == 0),
            key=lambda g: (round(max(imbalance(batch * blocks * g, target.cores), 1.05), 2), g),
        ),
    )

    row, column = sch.split(p, [rows, width])
    row_group, row = sch.split(row, [groups, None])
    tile_loop, pixel = sch.split(column, [None, tile])
    sch.reorder(n, o, row_group, row, tile_loop, pixel, c)
    units = sch.fuse(n, o, row_group)
    sch.compute_at(accumulate, tile_loop, preserve_unit_loops=True)
    tile_pixels, tile_lanes, r, q = sch.get_loops(accumulate)[-4:]
    sch.compute_inline(sch.get_sblock("padded"))
    macs = batch * blocks * pixels * lanes * r_extent * q_extent
    share(sch, units, macs, knobs, target)
    if taps == "unrolled":
        sch.unroll(r)
    sch.unroll(q)
    keep_in_registers(sch, accumulate, [r, q], [tile_pixels], tile_lanes)
    write_back(sch, [pixel], c)
    settle_tail(sch, tile_loop, width, tile)
    return []


def row_tile(width: int, target: TargetSpec) -> int:
    """Choose how many pixels of a row are computed at once.

    Parameters
    ----------
    width : int
        Pixels in a row.
    target : TargetSpec

    Returns
    -------
    int
        With 32 registers a divisor of the width from 3 to 8, nearest to 7; where
        there is none, 1 on x86, and elsewhere the size that covers a short row
        evenly: 11 is 6 + 5. With 16 registers, and on tiny maps whose rows LLVM
        unrolls as well, 1.
    """
    if target.registers < 32 or (width <= _FEW_TILES and target.isa != "avx512"):
        return 1
    most = min(MOST_PIXELS, width)
    even = [t for t in range(3, most + 1) if width % t == 0]
    if even:
        return min(even, key=lambda t: abs(t - 7))
    tiles = -(-width // most)
    if width <= 2 or target.machine == "x86_64" or tiles > _FEW_TILES:
        return 1
    return -(-width // tiles)


def settle_tail(sch: Any, tiles: Any, width: int, tile: int) -> None:
    """Take a shorter last tile of a row out of the loop of whole ones.

    Parameters
    ----------
    sch : s_tir.Schedule
    tiles : LoopRV
        Over the tiles of a row.
    width, tile : int
        Pixels.
    """
    if width % tile == 0:
        return
    if -(-width // tile) <= _FEW_TILES:
        sch.unroll(tiles)  # every border and tail is then known
    else:
        peel_tail(sch, tiles)


def tap_rows(rows: int, width: int, target: TargetSpec) -> str:
    """Answer "loop" where LLVM would hoist more of the taps' rows than fit, else "unrolled".

    It unrolls a short row of pixels itself, and then keeps all nine taps in registers; 25
    taps are more than any machine has.
    """
    if rows > _MOST_TAP_ROWS:
        return "loop"
    short = width <= MOST_PIXELS and not target.fma
    return "loop" if target.isa == "neon32" or short else "unrolled"
