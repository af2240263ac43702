"""The plan of a convolution on blocks on a GPU; see ``tensorir/gpu/conv_blocked`` for its loops."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.conv_blocked import vectors_of
from tvm_mobilenet.schedules.plans.gpu.threads import (
    VECTOR_REGISTERS,
    WARPS_OF_A_UNIT,
    block_threads,
)

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.machine.gpu import LANE_BYTES, SCHEDULERS, WAVEFRONT_BYTES
from tvm_mobilenet.operators.groups import repeats
from tvm_mobilenet.operators.phases import is_depthwise
from tvm_mobilenet.operators.workload import Workload

_MOST_ROWS = 8
_MOST_BLOCKS = 4
_ADDRESSES = 40

_WAVEFRONTS = 32 * LANE_BYTES // WAVEFRONT_BYTES
"""Wavefronts of L1 in which each thread of a warp loads a vector."""


@dataclass(frozen=True, slots=True)
class GpuConvBlockedPlan:
    """How a convolution on blocks is cut.

    Attributes
    ----------
    phases : tuple of int
        (rows, columns) of a step: output pixels that other taps reach, 1 unless transposed.
    rows, blocks : int
        Steps down of a strip, and output blocks of a thread.
    inner : int
        Channels of a tap that are unrolled.
    vectors : bool
        Whether what a thread reads of a pixel is a vector; else groups end inside of blocks.
    threads : int
        Threads of a block.
    registers : int
        Registers of a thread, as they are reckoned with.
    """

    phases: tuple[int, int]
    rows: int
    blocks: int
    inner: int
    vectors: bool
    threads: int
    registers: int


def plan_gpu_conv_blocked(work: Workload, knobs: Knobs, target: TargetSpec) -> GpuConvBlockedPlan:
    """Plan a convolution on blocks.

    Parameters
    ----------
    knobs : Knobs
        ``rows`` of a strip; ``blocks``: output blocks of a thread; ``threads`` of a block.
    """
    return _planned(work, knobs, target, (1, 1))


def plan_gpu_conv_transpose(work: Workload, knobs: Knobs, target: TargetSpec) -> GpuConvBlockedPlan:
    """Plan a transposed convolution: that of a phase, for all of them.

    Parameters
    ----------
    knobs : Knobs
        As for :func:`plan_gpu_conv_blocked`; ``rows`` are steps of all phases.
    """
    return _planned(work, knobs, target, work.strides)


def _planned(
    work: Workload, knobs: Knobs, target: TargetSpec, phases: tuple[int, int]
) -> GpuConvBlockedPlan:
    height, width = (-(-size // phase) for size, phase in zip(work.out_size, phases, strict=True))
    sizes = _Sizes(work.batch, work.out_blocks, work.out_block, (height, width), _shared(work))
    best = _tile(sizes, target)
    rows = knobs.choice("rows", sizes.row_options(), best[0])
    blocks = knobs.choice("blocks", sizes.block_options(), best[1])
    threads = block_threads(
        knobs,
        sizes.places(rows),
        target,
        work.out_blocks // blocks,
        axes=(work.batch, -(-height // rows), width),
    )
    return GpuConvBlockedPlan(
        phases,
        rows,
        blocks,
        math.gcd(work.depth, work.in_block),
        _reads_vectors(work),
        threads,
        sizes.registers(rows, blocks),
    )


@dataclass(frozen=True, slots=True)
class _Sizes:
    batch: int
    blocks: int
    lanes: int
    steps: tuple[int, int]
    shared: int

    def row_options(self) -> list[int]:
        """Return the rows that a strip may have: none hangs over, which every sum would ask."""
        return [rows for rows in range(1, _MOST_ROWS + 1) if self.steps[0] % rows == 0]

    def block_options(self) -> list[int]:
        """Return how many output blocks a thread may take: those that read the same."""
        return [b for b in range(1, _MOST_BLOCKS + 1) if self.shared % b == 0]

    def registers(self, rows: int, blocks: int) -> int:
        """Return the registers of a thread."""
        return rows * blocks * self.lanes + (rows + blocks) * VECTOR_REGISTERS + _ADDRESSES

    def places(self, rows: int) -> int:
        """Return the strips of all images and columns."""
        return self.batch * self.steps[0] // rows * self.steps[1]

    def cost(self, rows: int, blocks: int) -> float:
        """Return clocks of a unit for a warp's multiply-add: loads and arithmetic.

        Weights are the same for a whole warp, a wavefront each; inputs are a vector a thread.
        """
        loads = (_WAVEFRONTS * rows / self.lanes + blocks) / (rows * blocks * self.lanes)
        return loads + 1 / SCHEDULERS


def _tile(sizes: _Sizes, target: TargetSpec) -> tuple[int, int]:
    """Choose rows and blocks as :func:`~tvm_mobilenet.schedules.plans.gpu.conv.conv_tile` does."""
    gpu = target.the_gpu
    wanted = gpu.units * min(WARPS_OF_A_UNIT * gpu.warp, gpu.unit_threads)
    tiles = [
        (rows, blocks)
        for rows in sizes.row_options()
        for blocks in sizes.block_options()
        if sizes.registers(rows, blocks) <= gpu.thread_registers * 2 // 3
    ] or [(1, 1)]

    def threads(tile: tuple[int, int]) -> int:
        return sizes.places(tile[0]) * sizes.blocks // tile[1]

    filling = [tile for tile in tiles if threads(tile) >= wanted]
    if not filling:
        return max(tiles, key=lambda tile: (threads(tile), tile[1]))
    return min(filling, key=lambda tile: sizes.cost(*tile))


def _shared(work: Workload) -> int:
    """Return how many output blocks in a row read the same input."""
    lanes, shared = vectors_of(work)
    return shared if lanes == work.out_block else 1


def _reads_vectors(work: Workload) -> bool:
    if work.groups == 1 or repeats(work) or is_depthwise(work):
        return True
    inside, outside = work.in_channels // work.groups, work.out_channels // work.groups
    return inside % work.in_block == 0 and outside % work.out_block == 0
