"""The plan of a first convolution on a GPU; see ``tensorir/gpu/conv`` for its loops."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.gpu.threads import (
    WARPS_OF_A_UNIT,
    block_threads,
    hanging,
    up_to,
)

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.machine.gpu import SCHEDULERS
from tvm_mobilenet.operators.workload import Workload

_ROWS = (1, 2, 3, 4, 7, 8)
_MOST_BLOCKS = 8
_ADDRESSES = 36
_FEW_CHANNELS = 4
"""Input channels up to which their loop is unrolled."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of a convolution that decide how it is cut.

    Attributes
    ----------
    batch, blocks, lanes : int
        N, output blocks, channels of each.
    size : tuple of int
        (rows, columns) of the output.
    taps : tuple of int
        (input channels, rows, columns) of the window.
    stride : int
        Rows from one output row to the next.
    converted : bool
        Whether weights are stored as something else than float32.
    """

    batch: int
    blocks: int
    lanes: int
    size: tuple[int, int]
    taps: tuple[int, int, int]
    stride: int
    converted: bool

    def inputs(self, rows: int) -> int:
        """Return the elements of one input channel that a strip reads."""
        return ((rows - 1) * self.stride + self.taps[1]) * self.taps[2]

    def registers(self, rows: int, blocks: int) -> int:
        """Return the registers of a thread."""
        return (rows + 1) * blocks * self.lanes + self.inputs(rows) + _ADDRESSES

    def threads(self, rows: int, blocks: int) -> int:
        """Return the threads of the whole layer."""
        strips = self.batch * -(-self.size[0] // rows) * self.size[1]
        return strips * (self.blocks // blocks)

    def cost(self, rows: int, blocks: int) -> float:
        """Return clocks of a unit for a warp's multiply-add: loads, arithmetic, conversions.

        In a clock each scheduler has a warp multiply and add, or half a warp convert a stored
        weight to float32, and L1 gives one wavefront; inputs are a stride apart, two of them.
        """
        taps = self.taps[1] * self.taps[2]
        loads = (2 * self.inputs(rows) + taps * blocks) / (taps * rows * blocks * self.lanes)
        work = loads + 1 / SCHEDULERS + (2 / SCHEDULERS / rows if self.converted else 0)
        return work * hanging(self.size[0], rows)


def conv_tile(sizes: Sizes, target: TargetSpec) -> tuple[int, int]:
    """Choose rows of a strip and output blocks of a thread.

    The cheapest multiply-adds, of those tiles that fit into two thirds of a thread's
    registers and leave every unit eight warps; where none does, the most threads.

    Returns
    -------
    tuple of int
        (rows, blocks).
    """
    gpu = target.the_gpu
    wanted = gpu.units * min(WARPS_OF_A_UNIT * gpu.warp, gpu.unit_threads)
    tiles = [
        (rows, blocks)
        for rows in up_to(_ROWS, sizes.size[0])
        for blocks in block_options(sizes)
        if sizes.registers(rows, blocks) <= gpu.thread_registers * 2 // 3
    ] or [(1, 1)]
    filling = [tile for tile in tiles if sizes.threads(*tile) >= wanted]
    if not filling:
        return max(tiles, key=lambda tile: (sizes.threads(*tile), tile[1]))
    return min(filling, key=lambda tile: sizes.cost(*tile))


def block_options(sizes: Sizes) -> list[int]:
    """Return how many output blocks a thread may take: divisors of the layer's."""
    return [b for b in range(1, _MOST_BLOCKS + 1) if sizes.blocks % b == 0]


@dataclass(frozen=True, slots=True)
class GpuConvPlan:
    """How a first convolution is cut.

    Attributes
    ----------
    sizes : Sizes
        Sizes of the layer.
    rows, blocks : int
        Rows of a strip, and output blocks of a thread.
    staged : bool
        Whether weights go through shared memory.
    unrolled : bool
        Whether the loop of input channels is.
    threads : int
        Threads of a block.
    """

    sizes: Sizes
    rows: int
    blocks: int
    staged: bool
    unrolled: bool
    threads: int

    @property
    def registers(self) -> int:
        """Registers of a thread, as they are reckoned with."""
        return self.sizes.registers(self.rows, self.blocks)


def plan_gpu_conv(work: Workload, knobs: Knobs, target: TargetSpec) -> GpuConvPlan:
    """Plan a first convolution.

    Parameters
    ----------
    knobs : Knobs
        ``rows``: of a strip; ``blocks``: output blocks of a thread; ``weights``: through
        shared memory or read by every thread; ``channels``: their loop unrolled or not;
        ``threads`` of a block.
    """
    sizes = Sizes(
        work.batch,
        work.out_blocks,
        work.out_block,
        work.out_size,
        (work.in_channels, *work.kernel),
        work.strides[0],
        target.dtype != "float32",
    )
    best = conv_tile(sizes, target)
    rows = knobs.choice("rows", up_to(_ROWS, sizes.size[0]), best[0])
    blocks = knobs.choice("blocks", block_options(sizes), best[1])
    weights = math.prod(sizes.taps) * blocks * sizes.lanes
    fits = weights * target.item_bytes <= target.the_gpu.block_shared
    ways = ["shared", "read"] if fits else ["read"]
    staged = knobs.choice("weights", ways, ways[0]) == "shared"
    few = sizes.taps[0] <= _FEW_CHANNELS
    channels = knobs.choice("channels", ["unrolled", "loop"], "unrolled" if few else "loop")
    threads = block_threads(
        knobs, sizes.threads(rows, sizes.blocks), target, sizes.blocks // blocks
    )
    return GpuConvPlan(sizes, rows, blocks, staged, channels == "unrolled", threads)
