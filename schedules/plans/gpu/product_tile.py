"""How a matrix product is cut up for a GPU, and what fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tvm_mobilenet.machine import ITEM_BYTES, GpuSpec
from tvm_mobilenet.machine.gpu import REGISTER_BYTES

ROW_THREADS = (1, 2, 4, 8, 16, 32)
ROWS = (1, 2, 3, 4, 5, 6, 7, 8)
VECTOR_THREADS = (1, 2, 4, 8, 16, 32)
VECTORS = (1, 2, 4)
SLICES = (1, 2, 4, 8, 16, 32, 64)
DEPTHS = (1, 2, 4, 8, 16, 32, 64)

WINDOW_REGISTERS = 24
"""Registers that computing what is multiplied takes beside."""

_LEAST_REGISTERS = 72
"""Registers that nvcc takes where there is little to hold: it fetches further ahead."""

SMALL = 48 << 10
"""Shared memory of a block, bytes, that needs no asking for more."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """A matrix product: rows x (blocks * block) times (blocks * block) x (vectors * lanes).

    Attributes
    ----------
    rows : int
        Pixels of all images.
    vectors, lanes : int
        Output channels, in vectors of so many.
    blocks, block : int
        Input channels, in blocks of so many.
    item : int
        Bytes of a stored element.
    rows_apart : bool
        Whether neighbours in a row's memory are its own channels, not other rows.
    together : int
        Vectors whose weights for one input channel lie side by side.
    taps : int
        Unless 0, data are the output of a depthwise layer of so many taps, computed where
        a pointwise layer would load them.
    """

    rows: int
    vectors: int
    blocks: int
    block: int
    lanes: int
    item: int = ITEM_BYTES["float32"]
    rows_apart: bool = False
    together: int = 1
    taps: int = 0


class Tile(Protocol):
    """What a block of threads computes, on whatever cores."""

    @property
    def rows(self) -> int:
        """Rows of a block of threads."""

    @property
    def vectors(self) -> int:
        """Output vectors of a block of threads."""

    @property
    def threads(self) -> int:
        """Threads of a block."""

    def shared_bytes(self, sizes: Sizes) -> int:
        """Return the shared memory of a block of threads."""

    def registers(self, sizes: Sizes) -> int:
        """Return the registers of a thread that are enough."""


@dataclass(frozen=True, slots=True)
class ProductTile:
    """What a block of threads computes, and how it is dealt out.

    Attributes
    ----------
    row_threads, vector_threads, slices : int
        Threads of a block along rows, output vectors, and K.
    row_each, vector_each : int
        Rows and vectors of a thread: its sums are their product times the lanes.
    depth : int
        Channel blocks of K in a step: a multiple of `slices`.
    staged : bool
        Whether operands go through shared memory.
    prefetch : bool
        Whether a step's operands are fetched, into registers, during the one before.
    """

    row_threads: int
    row_each: int
    vector_threads: int
    vector_each: int
    slices: int = 1
    depth: int = 1
    staged: bool = True
    prefetch: bool = False

    @property
    def rows(self) -> int:
        """Rows of a block of threads."""
        return self.row_threads * self.row_each

    @property
    def vectors(self) -> int:
        """Output vectors of a block of threads."""
        return self.vector_threads * self.vector_each

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.row_threads * self.vector_threads * self.slices

    def order(self, sizes: Sizes) -> tuple[str, str, str]:
        """Return what neighbouring threads differ in, first to last.

        In the row, whose elements lie side by side. Where there is but one row, in the
        vectors whose weights do, then in the slice: those of K's channels do too.
        """
        if self.row_threads > 1:
            return "row", "vector", "slice"
        return ("vector", "slice", "row") if sizes.together > 1 else ("slice", "vector", "row")

    def places(self, sizes: Sizes) -> tuple[int, int]:
        """Return the places of a channel's rows, and of its vectors, in shared memory.

        An odd number, where threads write consecutive channels of a row or vector: 16 bytes
        each, they then meet different banks.
        """
        return self.rows | sizes.rows_apart, self.vectors | 1

    def shared_bytes(self, sizes: Sizes) -> int:
        """Return the shared memory of a block of threads."""
        total = 0
        if self.staged:
            rows, vectors = self.places(sizes)
            total += self.depth * sizes.block * (rows + vectors * sizes.lanes) * sizes.item
        if self.slices > 1:
            total += self.slices * self.rows * self.vectors * sizes.lanes * ITEM_BYTES["float32"]
        return total

    def registers(self, sizes: Sizes) -> int:
        """Return the registers of a thread that are enough, by all that nvcc reported.

        Sums, a block of each row, a vector of weights for each vector and what is
        prefetched; nvcc fetches half as much again ahead, and keeps addresses.
        """
        word = REGISTER_BYTES // sizes.item
        held = self.row_each * self.vector_each * sizes.lanes
        held += (self.row_each * sizes.block + self.vector_each * sizes.lanes) // word
        if self.staged and self.prefetch:
            rows = -(-self.depth * self.rows // self.threads) * sizes.block
            weights = -(-self.depth * sizes.block * self.vectors // self.threads) * sizes.lanes
            held += (rows + weights) // word
        if not self.staged:  # the next channels' loads are all under way
            return 2 * held + 48
        window = WINDOW_REGISTERS * (sizes.taps > 0)
        return max(held * 3 // 2 + 24, _LEAST_REGISTERS) + window

    def fits(self, sizes: Sizes, gpu: GpuSpec) -> bool:
        """Whether a unit can hold a block of threads, without registers in memory."""
        return (
            self.threads <= gpu.block_threads
            and self.registers(sizes) <= gpu.thread_registers
            and self.shared_bytes(sizes) <= min(gpu.block_shared or gpu.unit_shared, SMALL)
            and resident_blocks(self, sizes, gpu) > 0
        )


def resident_blocks(tile: Tile, sizes: Sizes, gpu: GpuSpec) -> int:
    """Return how many blocks of threads a unit can hold."""
    return gpu.resident_blocks(tile.threads, tile.registers(sizes), tile.shared_bytes(sizes))


def launch_bound(tile: Tile, sizes: Sizes, gpu: GpuSpec) -> int:
    """Return the blocks that ptxas shall leave room for, 0 where there is no ptxas."""
    if gpu.kind != "cuda":
        return 0
    blocks = resident_blocks(tile, sizes, gpu)
    # How many of a window's loads ptxas puts ahead of their use cannot be foreseen.
    return max(blocks // 2, 1) if sizes.taps else blocks
