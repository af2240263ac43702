"""The plan of a separable block in integers; see ``tensorir/cpu/integer/separable``."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.integer.depthwise import SLOWER, WINDOW, choose_tap_rows
from tvm_mobilenet.schedules.plans.integer.products import ProductPlan, choose_tile
from tvm_mobilenet.schedules.plans.threads import BALANCED, divisors, imbalance, share

from tvm_mobilenet.machine import ITEM_BYTES, TargetSpec
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
    splits : int
        Pieces that the output channels are cut into, where a map has too few rows for all
        threads: each computes the depthwise layer of its rows anew.
    """

    product: ProductPlan
    tap_pixels: int
    tap_rows: int
    rows: int
    splits: int

    @property
    def units(self) -> int:
        """Channel pieces of row groups of images, which threads can share."""
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
        ``rows``: output rows of a row group; ``splits``: pieces of the output channels; ``tile``:
        as of a pointwise layer; ``tap_rows``: as of a depthwise one; ``threads``: all or one.
    """
    height, width = work.out_size
    row = ITEM_BYTES[work.dtype] * work.in_blocks * 16 * width
    room = (target.l2_bytes or _WHOLE) // 4
    first_share = SLOWER * math.prod(work.kernel) / (work.out_blocks * 16)

    def cost(rows: int, splits: int) -> float:
        units = work.batch * height // rows * splits
        # Rows above and below are read, copied and padded again for each group.
        again = (rows * work.strides[0] + work.kernel[0] - 1) / rows / 20
        uneven = max(imbalance(units, target.cores), BALANCED)
        return uneven * (1 + again + first_share * splits)

    def tile_of(rows: int, asked: Knobs) -> tuple[int, int]:
        return choose_tile(asked, work, rows * width, work.depth // work.step, target)

    def pieces_of(tile: tuple[int, int]) -> list[int]:
        return divisors(-(-work.out_blocks // tile[1]))

    def wish(rows: int) -> tuple[bool, float, int]:
        pieces = pieces_of(tile_of(rows, Knobs()))
        return rows * row > room, min(cost(rows, splits) for splits in pieces), -rows

    options = divisors(height)
    rows = knobs.choice("rows", options, min(options, key=wish))
    tile = tile_of(rows, knobs)
    pieces = pieces_of(tile)
    splits = knobs.choice("splits", pieces, min(pieces, key=lambda i: cost(rows, i)))
    taps = choose_tap_rows(knobs, work, rows, target, work.mid_passes)
    units = work.batch * height // rows * splits
    parallel = share(units, work.macs // work.step, knobs, target)
    product = ProductPlan(*tile, height // rows, units, parallel)
    return BlockPlan(product, min(WINDOW, width), taps, rows, splits)
