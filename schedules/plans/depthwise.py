"""The plan of a depthwise layer; see ``tensorir/cpu/depthwise`` for its loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.threads import choose_pieces, divisors, share

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

MOST_PIXELS = 8

_MOST_TAP_ROWS = 3

_FEW_TILES = 4
"""Tiles in a row up to which a row with a tail is unrolled whole."""


@dataclass(frozen=True, slots=True)
class RowPlan:
    """How a row of a depthwise layer is computed.

    Attributes
    ----------
    width, pixels : int
        Pixels in a row, and in a tile of it.
    unrolled : bool
        Whether the rows of the taps are.
    """

    width: int
    pixels: int
    unrolled: bool

    @property
    def has_tail(self) -> bool:
        """Whether the last tile is shorter."""
        return self.width % self.pixels != 0

    @property
    def is_short(self) -> bool:
        """Whether a row with a tail is so short that it is unrolled whole: its border is known."""
        return -(-self.width // self.pixels) <= _FEW_TILES


@dataclass(frozen=True, slots=True)
class DepthwisePlan:
    """How a depthwise layer is cut.

    Attributes
    ----------
    row : RowPlan
        How each of its rows is computed.
    groups : int
        Pieces that the rows of a map are cut into.
    units : int
        What threads can share: row groups of channel blocks of images.
    parallel : bool
        Whether they do.
    """

    row: RowPlan
    groups: int
    units: int
    parallel: bool


def plan_depthwise(
    work: Workload, knobs: Knobs, target: TargetSpec, *, tails: bool = True
) -> DepthwisePlan:
    """Plan a depthwise layer.

    Parameters
    ----------
    knobs : Knobs
        ``pixels``: accumulators; ``tap_rows``: unrolled or a loop; ``row_groups``: pieces
        that a map is cut into, all of a size; ``threads``: all or one.
    tails : bool
        As for :func:`plan_row`.
    """
    height, width = work.out_size
    row = plan_row(knobs, "pixels", (work.kernel[0], width), target, tails=tails)
    groups = choose_pieces(
        knobs, "row_groups", divisors(height), work.batch * work.out_blocks, target
    )
    units = work.batch * work.out_blocks * groups
    channels = work.out_blocks * work.out_block
    macs = work.batch * channels * work.out_pixels * math.prod(work.kernel)
    return DepthwisePlan(row, groups, units, share(units, macs, knobs, target))


def plan_row(
    knobs: Knobs, name: str, sizes: tuple[int, int], target: TargetSpec, *, tails: bool
) -> RowPlan:
    """Ask how a row of a depthwise layer is computed.

    Parameters
    ----------
    name : str
        What the knob of the tile is called.
    sizes : tuple of int
        Rows of the taps, pixels of an output row.
    tails : bool
        Whether a tile may leave a shorter one at the end of a row. TE has no loop of whole
        tiles apart from the last: there LLVM would keep the border's conditions for each tap.
    """
    taps, width = sizes
    best = row_tile(width, target)
    options: Sequence[int] = range(1, min(MOST_PIXELS, width) + 1)
    if not tails:
        options = divisors(width, MOST_PIXELS)
        best = best if width % best == 0 else options[-1]
    pixels = knobs.choice(name, options, best)
    rows = knobs.choice("tap_rows", ["unrolled", "loop"], _tap_rows(taps, width, target))
    return RowPlan(width, pixels, rows == "unrolled")


def row_tile(width: int, target: TargetSpec) -> int:
    """Choose how many pixels of a row are computed at once.

    Parameters
    ----------
    width : int
        Pixels in a row.

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


def _tap_rows(rows: int, width: int, target: TargetSpec) -> str:
    """Answer "loop" where LLVM would hoist more of the taps' rows than fit, else "unrolled".

    It unrolls a short row of pixels itself, and then keeps all nine taps in registers; 25
    taps are more than any machine has.
    """
    if rows > _MOST_TAP_ROWS:
        return "loop"
    short = width <= MOST_PIXELS and not target.fma
    return "loop" if target.isa == "neon32" or short else "unrolled"
