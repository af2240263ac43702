"""Depthwise convolution: nine multiply-adds an element, read straight from the unpadded map.

Pattern
    ``padded`` into ``accumulate(n, o, p, c; r, q)`` into ``out(n, o, p, c)``,
    operator "depthwise".

Loop nest, outer to inner
    (n, channel block, row group) on threads → rows → tiles of pixels in a row →
    taps, unrolled → pixels of the tile → lanes

Registers
    One accumulator a pixel, the input vector, and the filter's taps as memory
    operands or, where there is room, in registers: 7 + 9 + 2 = 18 of 32.

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
    write_back,
)
from tvm_mobilenet.schedules.cpu.prefetch import Prefetch
from tvm_mobilenet.schedules.cpu.threads import imbalance, share
from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.target import TargetSpec


def schedule_depthwise(sch: Any, knobs: Knobs, target: TargetSpec) -> list[Prefetch]:
    """Schedule a depthwise convolution.

    Parameters
    ----------
    sch : s_tir.Schedule
        Over the function of a depthwise workload.
    knobs : Knobs
        ``pixels``: accumulators; ``row_groups``: pieces that a map is cut into;
        ``threads``: all or one.
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

    most = min(8 if target.registers >= 32 else 5, width)
    tile = knobs.choice("pixels", range(1, most + 1), row_tile(width, most))
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
    sch.unroll(r)
    sch.unroll(q)
    keep_in_registers(sch, accumulate, [r, q], [tile_pixels], tile_lanes)
    write_back(sch, [pixel], c)
    return []


def row_tile(width: int, most: int) -> int:
    """Choose how many pixels of a row are computed at once.

    Parameters
    ----------
    width : int
        Pixels in a row.
    most : int
        Accumulators that fit.

    Returns
    -------
    int
        A divisor of the width between half of `most` and `most`, nearest to 7;
        where there is none, the size that covers the row evenly: 15 is 8 + 7.
    """
    even = [t for t in range(max(most // 2, 1), most + 1) if width % t == 0]
    if even:
        return min(even, key=lambda t: abs(t - 7))
    return -(-width // -(-width // most))
