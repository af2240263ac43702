"""The plan of a full convolution; what its loops are is said in ``schedules/tensorir/cpu/conv``."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.threads import share
from tvm_mobilenet.schedules.plans.tile import Fits, Tile, best_tile, choose_tile

from tvm_mobilenet.machine import Isa, TargetSpec
from tvm_mobilenet.operators.workload import Workload

_ROWS_AHEAD = (0, 1, 2, 4, 8)
"""Output rows whose input can be prefetched before its time."""

_SPARE: dict[Isa, int] = {
    "avx512": 3,
    "avx2": 2,
    "sse": 6,
    "neon": 13,
    "neon32": 6,
    "rvv": 6,
    "scalar": 13,
}
"""As in ``tile``, beside a register for each pixel's input, which may be border."""


@dataclass(frozen=True, slots=True)
class ConvPlan:
    """How a full convolution is cut.

    Attributes
    ----------
    tile : Tile
        Accumulators.
    rows, width : int
        Rows and pixels of a row of the output.
    tiles : int
        Tiles of a row.
    units : int
        What threads can share: rows of images.
    parallel : bool
        Whether they do.
    rows_ahead : int
        Output rows whose input is prefetched before its time; 0 for none.
    """

    tile: Tile
    rows: int
    width: int
    tiles: int
    units: int
    parallel: bool
    rows_ahead: int


def plan_conv(work: Workload, knobs: Knobs, target: TargetSpec, *, tails: bool = True) -> ConvPlan:
    """Plan a full convolution.

    Parameters
    ----------
    knobs : Knobs
        ``vectors`` and ``pixels``: accumulators; ``threads``: all or one; ``rows_ahead``:
        output rows whose input is prefetched before its time, 0 for none.
    tails : bool
        Whether a tile may leave a shorter one at the end of a row. In TE its accumulators
        would not stay in registers.
    """
    rows, width = work.out_size
    steps = work.in_channels * math.prod(work.kernel)

    def whole(tile: Tile, target: TargetSpec) -> bool:
        return width % tile.pixels == 0 and fits(tile, target)

    even = not tails or any(width % pixels == 0 for pixels in range(4, 9))
    preferred: Fits = whole if even else fits
    best = best_tile(width, work.out_blocks, steps, target, work.batch, rows, preferred)
    tile = choose_tile(knobs, best, width, work.out_blocks, target, fits if tails else whole)
    units = work.batch * rows
    macs = work.batch * work.out_blocks * work.out_block * work.out_pixels * steps
    parallel = share(units, macs, knobs, target)
    ahead = knobs.choice("rows_ahead", _ROWS_AHEAD, 4)
    return ConvPlan(tile, rows, width, -(-width // tile.pixels), units, parallel, ahead)


def fits(tile: Tile, target: TargetSpec) -> bool:
    """Whether accumulators, weights and a register for each pixel's input fit."""
    weights, inputs = tile.vectors, tile.pixels
    used = tile.pixels * tile.vectors + weights + inputs + _SPARE[target.isa]
    # A lone vector with many pixels spills as well: LLVM then unrolls the taps.
    return used <= target.registers and tile.pixels <= target.registers // 4
