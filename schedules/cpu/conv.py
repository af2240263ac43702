"""Full convolution from NCHW: the first layer, 27 steps of a matrix product.

Pattern
    ``padded`` into ``accumulate(n, o, p, c; i, r, q)`` into ``out(n, o, p, c)``,
    operator "conv".

Loop nest, outer to inner
    (n, row) on threads → vector group → tiles of pixels in the row → input
    channel, tap row, tap column → pixels of the tile → vectors → lanes

Registers
    As the pointwise micro-kernel, and up to one for each pixel, whose input may be
    border: 8 x 2 + 2 + 8 = 26 of 32 with AVX-512, 4 x 2 + 2 + 4 = 14 of 16 with AVX2.

Traffic
    Weights (3.4 KB) stay in L1; three rows of three channels (8 KB) as well. The
    output, 1.6 MB at 112 x 112 x 32, is written once. The image is the caller's and
    comes from memory: a few of its lines are prefetched at every tile, four output
    rows before their time (in MobileNet V1 103 µs; 197 with a whole row's lines
    prefetched at once, which fills the miss buffers).

Bound
    Multiply-add throughput: 91 µs at 112 x 112 x 32 on one Zen 5 core, measured
    101 to 104 (88%).

Tails
    A tile that divides the row is chosen if there is one: accumulators of a last tile
    that reaches into the next row do not stay in registers (TVM then sees them as a
    whole map; 96 x 96 x 32: 119 µs with 7 pixels, 73 with 8).

What lost
    Staging padded rows (109 µs); unrolling the taps (spills: LLVM then hoists
    predicates and addresses; 112 to 160 µs); one vector (111 µs and up).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm_mobilenet.schedules.cpu.micro_kernel import (
    extent,
    keep_in_registers,
    out_width,
    peel_tail,
    write_back,
)
from tvm_mobilenet.schedules.cpu.pointwise import choose_tile
from tvm_mobilenet.schedules.cpu.prefetch import LINE, Prefetch
from tvm_mobilenet.schedules.cpu.threads import share
from tvm_mobilenet.schedules.cpu.tile import Fits, Tile, best_tile
from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.target import Isa, TargetSpec

ROWS_AHEAD = (0, 1, 2, 4, 8)
"""Output rows whose input can be prefetched before its time."""

_SPARE: dict[Isa, int] = {
    "avx512": 3,
    "avx2": 2,
    "sse": 6,
    "neon": 13,
    "neon32": 6,
    "scalar": 13,
}
"""As in ``tile``, beside a register for each pixel's input, which may be border."""


def fits(tile: Tile, target: TargetSpec) -> bool:
    """Whether accumulators, weights and a register for each pixel's input fit."""
    weights, inputs = tile.vectors, tile.pixels
    used = tile.pixels * tile.vectors + weights + inputs + _SPARE[target.isa]
    # A lone vector with many pixels spills as well: LLVM then unrolls the taps.
    return used <= target.registers and tile.pixels <= target.registers // 4


def _whole(width: int) -> Fits:
    """Ask of a tile that it divides the row, if one of 4 to 8 pixels does."""
    if all(width % pixels for pixels in range(4, 9)):
        return fits
    return lambda tile, target: fits(tile, target) and width % tile.pixels == 0


def schedule_conv(sch: Any, knobs: Knobs, target: TargetSpec) -> list[Prefetch]:
    """Schedule a full convolution.

    Parameters
    ----------
    sch : s_tir.Schedule
        Over the function of a conv workload.
    knobs : Knobs
        ``vectors`` and ``pixels``: accumulators; ``rows_ahead``: output rows whose
        input is prefetched before its time, 0 for none; ``threads``: all or one.
    target : TargetSpec

    Returns
    -------
    list of Prefetch
    """
    accumulate, out = sch.get_sblock("accumulate"), sch.get_sblock("out")
    n, o, p, c = sch.get_loops(out)
    batch, blocks, pixels, lanes = (extent(sch, loop) for loop in (n, o, p, c))
    width = out_width(sch)
    rows = pixels // width
    steps = 1
    for loop in sch.get_loops(accumulate)[-3:]:
        steps *= extent(sch, loop)

    best = best_tile(width, blocks, steps, target, batch, rows, _whole(width))
    tile = choose_tile(knobs, best, width, blocks, target, fits)
    row, column = sch.split(p, [rows, width])
    tile_loop, pixel = sch.split(column, [None, tile.pixels])
    group, vector = sch.split(o, [None, tile.vectors])
    sch.reorder(n, row, group, tile_loop, pixel, vector, c)
    units = sch.fuse(n, row)
    sch.compute_at(accumulate, tile_loop, preserve_unit_loops=True)
    vectors, tile_pixels, tile_lanes, i, r, q = sch.get_loops(accumulate)[-6:]
    sch.compute_inline(sch.get_sblock("padded"))
    share(sch, units, batch * blocks * pixels * lanes * steps, knobs, target)
    keep_in_registers(sch, accumulate, [i, r, q], [tile_pixels, vectors], tile_lanes)
    write_back(sch, [pixel, vector], c)
    peel_tail(sch, tile_loop)
    ahead = knobs.choice("rows_ahead", ROWS_AHEAD, 4)
    image = tuple(int(size) for size in sch.mod["main"].params[0].ty.shape)
    tiles = -(-width // tile.pixels)
    return later_rows(ahead, image, (rows, tiles), tile_loop, [units, group, tile_loop])


def later_rows(
    ahead: int,
    image: tuple[int, ...],
    places: tuple[int, int],
    at: Any,
    loops: Sequence[Any],
) -> list[Prefetch]:
    """Prefetch, at every tile, some lines of the image before their rows' time.

    Parameters
    ----------
    ahead : int
        Output rows; 0 for nothing.
    image : tuple of int
        The input, NCHW.
    places : tuple of int
        Rows of the output, and tiles of a row.
    at : LoopRV
        The loop of the tiles.
    loops : sequence of LoopRV
        (Image, row), vector groups, and tiles.

    Returns
    -------
    list of Prefetch
    """
    if ahead == 0:
        return []
    _, channels, height, in_width = image
    rows, tiles = places
    stride = max(round(height / rows), 1)
    lines = -(-in_width // (LINE * tiles))

    def indices(unit: Any, _: Any, at: Any) -> list[tuple[Any, ...]]:
        first = (unit % rows + ahead) * stride
        return [
            (unit // rows, channel, first + i, (at * lines + line) * LINE)
            for channel in range(channels)
            for i in range(stride)
            for line in range(lines)
        ]

    return [Prefetch(at, 0, indices, loops)]
