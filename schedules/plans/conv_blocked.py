"""The plan of a convolution on blocks; see ``tensorir/cpu/conv_blocked`` for its loops."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.depthwise import row_tile
from tvm_mobilenet.schedules.plans.row_groups import choose_rows
from tvm_mobilenet.schedules.plans.threads import share
from tvm_mobilenet.schedules.plans.tile import (
    Fits,
    Tile,
    best_tile,
    choose_tile,
    fits,
    inner_steps,
)

from tvm_mobilenet.machine import ITEM_BYTES, TargetSpec
from tvm_mobilenet.operators.groups import repeats
from tvm_mobilenet.operators.phases import is_depthwise, phase_taps
from tvm_mobilenet.operators.workload import Workload

_COPIED = 2.0
"""Multiply-adds that copying an element with its border takes the time of."""


@dataclass(frozen=True, slots=True)
class ConvBlockedPlan:
    """How a convolution on blocks is cut.

    Attributes
    ----------
    phases : tuple of int
        (rows, columns) of a step: output pixels that other taps reach, 1 unless transposed.
    tile : Tile
        Accumulators.
    lanes : int
        Channels of a vector: those of a block that belong to one group.
    chunks : int
        Row groups that a map is cut into.
    splits, groups : int
        Pieces that the output's vector groups are cut into, and those in each.
    inner : int
        Steps of the reduction over a tap's channels that are unrolled.
    steps : int
        Steps of a row, which tiles cover.
    units : int
        What threads can share: channel splits of row groups of images.
    parallel : bool
        Whether they do.
    staged : bool
        Whether a unit's input is copied, its border of zeros around it.
    copied : int
        Channels that are copied at once: those that are read from one place.
    """

    phases: tuple[int, int]
    tile: Tile
    lanes: int
    chunks: int
    splits: int
    groups: int
    inner: int
    steps: int
    units: int
    parallel: bool
    staged: bool
    copied: int


def plan_conv_blocked(work: Workload, knobs: Knobs, target: TargetSpec) -> ConvBlockedPlan:
    """Plan a convolution on blocks.

    Parameters
    ----------
    knobs : Knobs
        ``vectors`` and ``pixels``: accumulators; ``border``: the input is staged with its
        border, or read where it lies; ``rows``: output rows in a group; ``splits``: pieces that
        output channels are cut into; ``threads``: all or one.
    """
    bordered = has_border(work) or repeats(work)
    return _planned(work, knobs, target, (1, 1), math.prod(work.kernel), bordered=bordered)


def plan_conv_transpose(work: Workload, knobs: Knobs, target: TargetSpec) -> ConvBlockedPlan:
    """Plan a transposed convolution: that of a phase, for all of them.

    Parameters
    ----------
    knobs : Knobs
        As for :func:`plan_conv_blocked`; ``rows`` are steps of all phases.
    """
    taps = math.prod(phase_taps(work))
    return _planned(work, knobs, target, work.strides, taps, bordered=True)


def _planned(
    work: Workload,
    knobs: Knobs,
    target: TargetSpec,
    phases: tuple[int, int],
    taps: int,
    *,
    bordered: bool,
) -> ConvBlockedPlan:
    height, steps = (-(-size // phase) for size, phase in zip(work.out_size, phases, strict=True))
    depth, (lanes, shared) = work.depth, vectors_of(work)
    best = best_tile(*(steps, shared, depth * taps, target, work.batch, height), fits_row(steps))
    if depth == 1:  # LLVM unrolls the taps, as it does those of a depthwise layer
        best = Tile(1 if is_depthwise(work) else row_tile(steps, target), 1)
    tile = choose_tile(knobs, best, steps, shared, target)
    groups = work.out_blocks // tile.vectors
    default = "staged" if bordered else "inline"
    staged = knobs.choice("border", ["staged", "inline"], default) == "staged"
    macs = work.out_blocks * work.out_block * work.out_pixels * depth * taps
    copied = _COPIED * work.in_channels * work.in_pixels / macs if staged else 0.0
    row_bytes = ITEM_BYTES[work.dtype] * work.in_blocks * work.in_block * work.in_pixels // height
    rows, splits = choose_rows(
        *(knobs, target, (work.batch, height, steps), row_bytes, 1),
        groups if _reads_whole_blocks(work) else 1,
        copied,
    )
    units = work.batch * height // rows * splits
    parallel = share(units, work.batch * macs, knobs, target)
    inner = math.gcd(inner_steps(depth, work.out_block, target), work.in_block)
    return ConvBlockedPlan(
        phases,
        tile,
        lanes,
        height // rows,
        splits,
        groups // splits,
        inner,
        steps,
        units,
        parallel,
        staged,
        math.gcd(work.out_channels // work.groups, work.out_block) if repeats(work) else 0,
    )


def fits_row(steps: int) -> Fits:
    """Return what tiles to choose from: those that divide a row, if one of a good size does."""
    if not any(steps % pixels == 0 for pixels in range(4, 9)):
        return fits
    return lambda tile, target: steps % tile.pixels == 0 and fits(tile, target)


def vectors_of(work: Workload) -> tuple[int, int]:
    """Return the lanes of a vector, and how many vectors in a row read the same input.

    Where groups end inside of a block, a vector is a part of one: the channels of a group.
    """
    if work.groups == 1:
        return work.out_block, work.out_blocks
    if is_depthwise(work) or repeats(work):
        return work.out_block, 1
    outside = work.out_channels // work.groups
    lanes = math.gcd(outside, work.out_block)
    return lanes, outside // lanes if lanes == work.out_block else 1


def _reads_whole_blocks(work: Workload) -> bool:
    """Whether what a part of the output's blocks reads are whole blocks of the input."""
    inside, outside = work.in_channels // work.groups, work.out_channels // work.groups
    ends_in_blocks = inside % work.in_block or outside % work.out_block
    own = is_depthwise(work) or repeats(work)
    return work.groups == 1 or own or not ends_in_blocks


def has_border(work: Workload) -> bool:
    """Whether a window reads beyond the map."""
    top, left, *_ = work.padding
    rows, columns = (
        (out - 1) * stride + (taps - 1) * apart + 1
        for out, stride, taps, apart in zip(
            work.out_size, work.strides, work.kernel, work.dilations, strict=True
        )
    )
    return any((top, left, rows - top > work.in_size[0], columns - left > work.in_size[1]))
