"""The plan of a pointwise layer; see ``tensorir/cpu/pointwise`` for its loops."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.threads import ELEMENT, choose_chunks, share
from tvm_mobilenet.schedules.plans.tile import (
    Tile,
    best_tile,
    choose_tile,
    chunk_options,
    inner_steps,
    stages,
)

from tvm_mobilenet.machine import ITEM_BYTES, TargetSpec
from tvm_mobilenet.operators.workload import Workload

_MANY_STREAMS = 128
"""Reduction steps from which prefetching pays: eight streams of AVX-512 blocks."""

_FEW_PIXELS = 224
"""Pixels that share a weight panel, up to which its first reader waits for it noticeably."""


@dataclass(frozen=True, slots=True)
class PointwisePlan:
    """How a pointwise layer is cut.

    Attributes
    ----------
    tile : Tile
        Accumulators.
    groups, chunks : int
        Vector groups, and pieces that an image's pixels are cut into.
    tiles : int
        Tiles of a chunk.
    outer, inner : int
        Steps of the reduction.
    units : int
        What threads can share: chunks of vector groups of images.
    parallel : bool
        Whether they do.
    prefetch : {"none", "input", "weights"}
        The next tile's pixels, the next group's weights.
    """

    tile: Tile
    groups: int
    chunks: int
    tiles: int
    outer: int
    inner: int
    units: int
    parallel: bool
    prefetch: str


def plan_pointwise(
    work: Workload, knobs: Knobs, target: TargetSpec, *, stage: bool = True
) -> PointwisePlan:
    """Plan a pointwise layer.

    Parameters
    ----------
    knobs : Knobs
        ``vectors`` and ``pixels``: accumulators; ``chunks``: pieces that the pixels
        are cut into; ``threads``: all or one; ``prefetch``: none, input or weights.
    stage : bool
        Whether tiles may be staged. TE's loops are not.
    """
    pixels, blocks, depth = work.out_pixels, work.out_blocks, work.depth
    staged = stage and stages(work, target)
    best = best_tile(pixels, blocks, depth, target, work.batch, staged=staged)
    tile = choose_tile(knobs, best, pixels, blocks, target)
    groups = blocks // tile.vectors
    options = chunk_options(pixels, tile)
    plane = ITEM_BYTES[work.dtype] * depth * pixels
    chunks = choose_chunks(knobs, options, plane, work.batch * groups, target)
    units = work.batch * chunks * groups
    macs = blocks * work.out_block * depth * max(work.batch * pixels, ELEMENT)
    parallel = share(units, macs, knobs, target)
    default = _what_to_prefetch(pixels // chunks, plane, depth, target)
    prefetch = knobs.choice("prefetch", ["none", "input", "weights"], default)
    inner = inner_steps(depth, work.out_block, target)
    tiles = -(-pixels // tile.pixels) // chunks
    return PointwisePlan(
        tile, groups, chunks, tiles, depth // inner, inner, units, parallel, prefetch
    )


def _what_to_prefetch(chunk: int, plane: int, depth: int, target: TargetSpec) -> str:
    """Choose to prefetch what is read for the first time faster than it arrives.

    Where few pixels share a weight panel, the first tile of them would wait for it. A map
    that fills half of L2 comes from beyond it, in one stream per channel block: hardware
    follows few.
    """
    if depth < _MANY_STREAMS:
        return "none"
    if chunk <= _FEW_PIXELS:
        return "weights"
    return "input" if plane * 2 >= target.l2_bytes > 0 else "none"
