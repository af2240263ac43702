"""The plan of a separable block in integers; see ``tensorir/cpu/integer/separable``."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.integer.depthwise import WINDOW, choose_tap_rows
from tvm_mobilenet.schedules.plans.integer.products import ProductPlan, choose_tile
from tvm_mobilenet.schedules.plans.threads import BALANCED, imbalance, share

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

_WHOLE = 1 << 17
"""Bytes of L2 that are counted on where nothing is known of it."""


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """How a separable block is cut.

    Attributes
    ----------
    product : ProductPlan
        The pointwise layer's plan, whose chunks are row groups.
    tap_pixels, tap_rows : int
        Output pixels of the depthwise layer's tile: side by side, and rows.
    rows : int
        Output rows of a row group.
    """

    product: ProductPlan
    tap_pixels: int
    tap_rows: int
    rows: int

    @property
    def units(self) -> int:
        """Row groups of images, which threads can share."""
        return self.product.units

    @property
    def parallel(self) -> bool:
        """Whether they do."""
        return self.product.parallel


def plan_block(work: Workload, knobs: Knobs, target: TargetSpec) -> BlockPlan:
    """Plan a separable block.

    Parameters
    ----------
    knobs : Knobs
        ``rows``: output rows of a row group; ``tile``: as of a pointwise layer; ``tap_rows``:
        as of a depthwise one; ``threads``: all or one.
    """
    height, width = work.out_size
    options = [i for i in range(1, height + 1) if height % i == 0]
    row = work.in_blocks * 16 * width
    room = (target.l2_bytes or _WHOLE) // 4

    def wish(rows: int) -> tuple[bool, float, float]:
        uneven = max(imbalance(work.batch * height // rows, target.cores), BALANCED)
        # Rows above and below are read, copied and padded again for each group.
        again = (rows * work.strides[0] + work.kernel[0] - 1) / rows
        return rows * row > room, uneven * (1 + again / 20), -rows

    rows = knobs.choice("rows", options, min(options, key=wish))
    tile = choose_tile(knobs, rows * width, work.out_blocks, work.depth, target)
    taps = choose_tap_rows(knobs, work, rows, target)
    units = work.batch * height // rows
    parallel = share(units, work.macs // 4, knobs, target)
    product = ProductPlan(*tile, height // rows, units, parallel)
    return BlockPlan(product, min(WINDOW, width), taps, rows)
