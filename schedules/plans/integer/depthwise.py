"""The plan of a depthwise layer in integers; see ``tensorir/cpu/integer/depthwise``."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.integer.products import vectors_of
from tvm_mobilenet.schedules.plans.threads import BALANCED, imbalance, share

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

WINDOW = 4
"""Pixels of a window, and output pixels of a tile: as many as a step multiplies."""

_SLOWER = 4
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
    options = [i for i in range(1, height + 1) if height % i == 0]
    units = work.batch * work.out_blocks

    def uneven(chunks: int) -> tuple[float, int]:
        return max(imbalance(units * chunks, target.cores), BALANCED), chunks

    chunks = knobs.choice("chunks", options, min(options, key=uneven))
    rows = choose_tap_rows(knobs, height // chunks, target)
    units *= chunks
    return FilterPlan(
        min(WINDOW, width),
        rows,
        chunks,
        units,
        share(units, work.macs * _SLOWER, knobs, target),
    )


def choose_tap_rows(knobs: Knobs, height: int, target: TargetSpec) -> int:
    """Ask for the output rows of a tile: a quarter of the registers holds sums, or half."""
    most = 4 if vectors_of(target) == 1 or target.isa == "neon" else 2
    options = [i for i in (1, 2, 3, 4, 5, 7) if height % i == 0 and i <= most + 1]
    default = max(i for i in options if i <= most)
    return knobs.choice("tap_rows", options, default)
