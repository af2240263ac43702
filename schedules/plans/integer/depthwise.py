"""The plan of a depthwise layer in integers; see ``tensorir/cpu/integer/depthwise``."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.integer.products import vectors_of
from tvm_mobilenet.schedules.plans.threads import BALANCED, divisors, imbalance, share

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

WINDOW = 4
"""Pixels of a window, and output pixels of a tile: as many as a step multiplies."""

_FEW_TAPS = 3
"""Rows of taps that registers hold beside the sums of four output rows."""

_MOST_ROWS, _MOST_TALL, _TALL = 4, 7, 16
"""Output rows of a tile: by default, at most, and the height of a map up to which that is."""

SLOWER = 3
"""What a multiply-add costs here, beside one of a pointwise layer."""


@dataclass(frozen=True, slots=True)
class FilterPlan:
    """How a depthwise layer is cut.

    Attributes
    ----------
    pixels, rows : int
        Output pixels of a tile: side by side, and rows.
    chunks : int
        Pieces that an image's rows are cut into.
    units : int
        What threads can share: chunks of channel blocks of images.
    parallel : bool
        Whether they do.
    """

    pixels: int
    rows: int
    chunks: int
    units: int
    parallel: bool


def plan_filter(work: Workload, knobs: Knobs, target: TargetSpec) -> FilterPlan:
    """Plan a depthwise layer.

    Parameters
    ----------
    knobs : Knobs
        ``chunks``: pieces of the rows; ``tap_rows``: output rows of a tile; ``threads``: all or
        one.
    """
    height, width = work.out_size
    options = divisors(height)
    units = work.batch * work.out_blocks

    def uneven(chunks: int) -> tuple[float, int]:
        return max(imbalance(units * chunks, target.cores), BALANCED), chunks

    chunks = knobs.choice("chunks", options, min(options, key=uneven))
    rows = choose_tap_rows(knobs, work, height // chunks, target, work.passes)
    units *= chunks
    return FilterPlan(
        min(WINDOW, width),
        rows,
        chunks,
        units,
        share(units, work.macs * SLOWER, knobs, target),
    )


def choose_tap_rows(
    knobs: Knobs, work: Workload, height: int, target: TargetSpec, passes: int
) -> int:
    """Ask for the output rows of a tile.

    An input row serves several of them, but begins and ends of their sums must be held meanwhile,
    and the last tile computes again what is left over. Large tiles have more rows read above and
    below a map, where they are copied with their border.

    Parameters
    ----------
    height : int
        Output rows that tiles are cut from.
    passes : int
        How often each row is multiplied: twice as many taps leave no registers for other rows.
    """
    taps, stride = work.kernel[0], work.strides[0]
    wide = vectors_of(target) == 1
    most = _MOST_TALL if wide and work.out_size[0] < _TALL else _MOST_ROWS
    if taps > _FEW_TAPS or not (wide or target.isa == "neon"):
        most = 2
    if passes > 1:
        most = 1
    options = range(1, min(height, _MOST_TALL) + 1)

    def cost(rows: int) -> tuple[int, int]:
        windows = (rows - 1) * stride + taps
        return -(-height // rows) * (rows * WINDOW * taps + windows), -rows

    return knobs.choice("tap_rows", options, min((i for i in options if i <= most), key=cost))
