"""How the first convolution is cut up for a GPU: rows and output blocks of a thread."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.schedules.gpu.threads import WARPS_OF_A_UNIT, hanging, up_to

from tvm_mobilenet.target import TargetSpec

ROWS = (1, 2, 3, 4, 7, 8)
_MOST_BLOCKS = 8
_ADDRESSES = 36
FEW_CHANNELS = 4
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

        128 multiply-adds a clock, half as many conversions of a stored weight to float32,
        one wavefront of L1; inputs are a stride apart, two wavefronts.
        """
        taps = self.taps[1] * self.taps[2]
        loads = (2 * self.inputs(rows) + taps * blocks) / (taps * rows * blocks * self.lanes)
        work = loads + 1 / 4 + (1 / 2 / rows if self.converted else 0)
        return work * hanging(self.size[0], rows)


def conv_tile(sizes: Sizes, target: TargetSpec) -> tuple[int, int]:
    """Choose rows of a strip and output blocks of a thread.

    The cheapest multiply-adds, of those tiles that fit into two thirds of a thread's
    registers and leave every unit eight warps; where none does, the most threads.

    Parameters
    ----------
    sizes : Sizes
    target : TargetSpec
        With a GPU.

    Returns
    -------
    tuple of int
        (rows, blocks).
    """
    gpu = target.the_gpu
    wanted = gpu.units * min(WARPS_OF_A_UNIT * gpu.warp, gpu.unit_threads)
    tiles = [
        (rows, blocks)
        for rows in up_to(ROWS, sizes.size[0])
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
