"""The plan of a separable block; see ``tensorir/cpu/separable`` for its loops."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.depthwise import RowPlan, plan_row
from tvm_mobilenet.schedules.plans.row_groups import choose_rows, row_group_tile
from tvm_mobilenet.schedules.plans.threads import share
from tvm_mobilenet.schedules.plans.tile import Tile, choose_tile, inner_steps, stages

from tvm_mobilenet.machine import ITEM_BYTES, TargetSpec
from tvm_mobilenet.operators.workload import Workload


@dataclass(frozen=True, slots=True)
class SeparablePlan:
    """How a separable block is cut.

    Attributes
    ----------
    tile : Tile
        Accumulators of the pointwise layer.
    row : RowPlan
        How a row of the depthwise layer is computed.
    rows, chunks : int
        Output rows of a row group, and row groups of a map.
    splits, groups : int
        Pieces that the output channels are cut into, and vector groups of each.
    tiles : int
        Tiles of a row group's pixels.
    outer, inner : int
        Steps of the reduction.
    units : int
        What threads can share: channel pieces of row groups of images.
    parallel : bool
        Whether they do.
    prefetch : {"none", "weights", "input"}
        The next vector group's weights, the next row group's input.
    """

    tile: Tile
    row: RowPlan
    rows: int
    chunks: int
    splits: int
    groups: int
    tiles: int
    outer: int
    inner: int
    units: int
    parallel: bool
    prefetch: str

    @property
    def chunk_pixels(self) -> int:
        """Output pixels of a row group."""
        return self.rows * self.row.width

    @property
    def extents(self) -> list[int]:
        """Iterations of the loops inside a unit, from the vector groups to the outer steps."""
        return [self.groups, self.tiles, self.outer]


def plan_separable(
    work: Workload, knobs: Knobs, target: TargetSpec, *, tails: bool = True
) -> SeparablePlan:
    """Plan a separable block.

    Parameters
    ----------
    knobs : Knobs
        ``vectors`` and ``pixels``: accumulators of the pointwise layer; ``rows``: output
        rows in a group; ``splits``: pieces that output channels are cut into;
        ``mid_pixels`` and ``tap_rows``: of the depthwise layer, as its own; ``threads``: all
        or one; ``prefetch``: none, weights, or input.
    tails : bool
        As for :func:`tvm_mobilenet.schedules.plans.depthwise.plan_row`. Without, nothing is
        staged either: TE's loops are not.
    """
    (height, width), blocks, depth = work.out_size, work.out_blocks, work.depth
    item = ITEM_BYTES[work.dtype]
    shape = (work.batch, height, width)
    staged = tails and stages(work, target)
    best = row_group_tile(shape, blocks, depth, target, staged=staged)
    tile = choose_tile(knobs, best, height * width, blocks, target)
    groups = blocks // tile.vectors
    rows, splits = choose_rows(
        knobs,
        target,
        shape,
        item * work.in_blocks * work.in_block * (width + work.in_pixels // height),
        tile.pixels,
        groups,
        math.prod(work.kernel) / (blocks * work.out_block),
    )
    row = plan_row(knobs, "mid_pixels", (work.kernel[0], width), target, tails=tails)
    chunks = height // rows
    units = work.batch * chunks * splits
    macs = work.batch * blocks * work.out_pixels * work.out_block * depth
    parallel = share(units, macs, knobs, target)
    # Weights that are too large to have stayed in L2 are prefetched.
    large = item * depth * blocks * work.out_block >= target.l2_bytes / 8 > 0
    default = "weights" if large else "none"
    prefetch = knobs.choice("prefetch", ["none", "weights", "input"], default)
    inner = inner_steps(depth, work.out_block, target)
    return SeparablePlan(
        tile,
        row,
        rows,
        chunks,
        splits,
        groups // splits,
        -(-rows * width // tile.pixels),
        depth // inner,
        inner,
        units,
        parallel,
        prefetch,
    )
