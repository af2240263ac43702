"""The plan of the last pointwise layer, pool and classifier in one kernel."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.threads import choose_pieces, divisors, share
from tvm_mobilenet.schedules.plans.tile import Tile, best_tile, choose_tile, inner_steps, stages

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

_MOST_PARTS = 64


@dataclass(frozen=True, slots=True)
class ConvPoolDensePlan:
    """How the end of a classifier is cut.

    Attributes
    ----------
    tile : Tile
        Accumulators of the pointwise layer.
    parts, groups : int
        Pieces that the channels are cut into, and vector groups of each.
    tiles : int
        Tiles of an image's pixels.
    outer, inner : int
        Steps of the reduction.
    units : int
        What threads can share: parts of images.
    parallel : bool
        Whether they do.
    prefetch : {"none", "weights", "classifier", "both"}
        The next panel of the pointwise layer, this group's rows of the classifier.
    """

    tile: Tile
    parts: int
    groups: int
    tiles: int
    outer: int
    inner: int
    units: int
    parallel: bool
    prefetch: str


def plan_conv_pool_dense(work: Workload, knobs: Knobs, target: TargetSpec) -> ConvPoolDensePlan:
    """Plan the end of a classifier.

    Parameters
    ----------
    knobs : Knobs
        ``vectors`` and ``pixels``: accumulators; ``parts``: pieces that the
        channels are cut into; ``threads``: all or one; ``prefetch``: none,
        weights (the next panel's), classifier (this group's rows), or both.
    """
    pixels, blocks, depth = work.out_pixels, work.out_blocks, work.depth
    staged = stages(work, target)
    best = best_tile(pixels, blocks, depth, target, work.batch, staged=staged)
    tile = choose_tile(knobs, best, pixels, blocks, target)
    groups = blocks // tile.vectors
    parts = choose_pieces(knobs, "parts", divisors(groups, _MOST_PARTS), work.batch, target)
    units = work.batch * parts
    macs = work.batch * blocks * pixels * work.out_block * depth
    parallel = share(units, macs, knobs, target)
    prefetch = knobs.choice("prefetch", ["none", "weights", "classifier", "both"], "both")
    inner = inner_steps(depth, work.out_block, target)
    return ConvPoolDensePlan(
        tile,
        parts,
        groups // parts,
        -(-pixels // tile.pixels),
        depth // inner,
        inner,
        units,
        parallel,
        prefetch,
    )
