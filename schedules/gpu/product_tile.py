"""How a matrix product is cut up for a GPU: what fits, how long it should take, the best.

No GPU was at hand: the time of a tile is reckoned, from what a unit can issue, load and
wait for. The reckoning only has to put tiles into the right order.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tvm_mobilenet.target import GpuSpec
from tvm_mobilenet.target.gpu import LANE_BYTES

ROW_THREADS = (1, 2, 4, 8, 16, 32)
ROWS = (1, 2, 3, 4, 5, 6, 7, 8)
VECTOR_THREADS = (1, 2, 4, 8, 16, 32)
VECTORS = (1, 2, 4)
SLICES = (1, 2, 4, 8, 16, 32, 64)
DEPTHS = (1, 2, 4, 8, 16, 32, 64)

MEMORY_CYCLES = 600
"""From asking L2 for something to having it; NVIDIA's parts take 200 to 800."""

SHARED_CYCLES = 30
"""Likewise shared memory, and a multiply-add that waits for it."""

UNIT_BYTES = 48
"""That a unit gets from L2 in a cycle: of 64, three quarters."""

WINDOW_REGISTERS = 24
"""That computing what is multiplied takes beside."""

_LINE = 128
"""Bytes that a unit's L1 or shared memory gives in a cycle, if they are neighbours."""

_SCHEDULERS = 4
"""Of a unit: each issues for one warp at a time."""

_RULE_REGISTERS = 208
"""That the rule gives a thread at most: what it reckons may be wrong by some."""

_LEAST_REGISTERS = 72
"""That nvcc takes where there is little to hold: it fetches further ahead."""

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
    item: int = 4
    rows_apart: bool = False
    together: int = 1
    taps: int = 0


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
            total += self.slices * self.rows * self.vectors * sizes.lanes * 4
        return total

    def registers(self, sizes: Sizes) -> int:
        """Return the registers of a thread that are enough, by all that nvcc reported.

        Sums, a block of each row, a vector of weights for each vector and what is
        prefetched; nvcc fetches half as much again ahead, and keeps addresses.
        """
        word = 4 // sizes.item
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
        registers = self.registers(sizes)
        return (
            self.threads <= gpu.block_threads
            and registers <= gpu.thread_registers
            and self.shared_bytes(sizes) <= min(gpu.block_shared or gpu.unit_shared, SMALL)
            and gpu.resident_blocks(self.threads, registers, self.shared_bytes(sizes)) > 0
        )


def launch_bound(threads: int, registers: int, shared: int, sizes: Sizes, gpu: GpuSpec) -> int:
    """Return the blocks that ptxas shall leave room for, 0 where there is no ptxas.

    Parameters
    ----------
    threads, registers, shared : int
        Threads of a block, registers of each, bytes of shared memory.
    sizes : Sizes
    gpu : GpuSpec
    """
    if gpu.kind != "cuda":
        return 0
    blocks = gpu.resident_blocks(threads, registers, shared)
    # How many of a window's loads ptxas puts ahead of their use cannot be foreseen.
    return max(blocks // 2, 1) if sizes.taps else blocks


def cycles(tile: ProductTile, sizes: Sizes, gpu: GpuSpec) -> float:
    """Return the cycles that a unit should take for its share of a product.

    Parameters
    ----------
    tile : ProductTile
        That fits.
    sizes : Sizes
    gpu : GpuSpec
    """
    grid = -(-sizes.rows // tile.rows) * -(-sizes.vectors // tile.vectors)
    most = gpu.resident_blocks(tile.threads, tile.registers(sizes), tile.shared_bytes(sizes))
    whole, rest = divmod(grid, gpu.units * most)
    total = whole * _wave(tile, sizes, gpu, most)
    return total + (_wave(tile, sizes, gpu, -(-rest // gpu.units)) if rest else 0)


def _wave(tile: ProductTile, sizes: Sizes, gpu: GpuSpec, blocks: int) -> float:
    """Cycles of a unit that holds so many blocks of threads at a time."""
    steps = -(-sizes.blocks // tile.depth)
    warps = -(-tile.threads // gpu.warp)
    turns = tile.depth // tile.slices
    # One step of one block of threads: what is issued, loaded from shared memory, fetched.
    macs = tile.row_each * tile.vector_each * sizes.block * sizes.lanes * turns
    loads = (tile.row_each + sizes.block * tile.vector_each) * turns
    each = blocks * warps / _SCHEDULERS
    # One warp of a scheduler now and then waits for shared memory; from three on one is ready.
    busy_lanes = min(each, 1.0) * min(0.6 + 0.2 * max(each - 1, 0), 1.0) * gpu.fp32_macs
    issue = (macs + 2 * loads) * warps * gpu.warp / busy_lanes
    near, far = (_near_lines if tile.staged else _far_lines)(tile, sizes, gpu.warp)
    load = tile.row_each * near + sizes.block * tile.vector_each * far
    load *= turns * warps
    if sizes.taps:  # the middle map's vectors: loads of 16 bytes, a multiply-add for each lane
        own = -(-tile.depth * tile.rows // tile.threads) if tile.staged else tile.row_each * turns
        vectors = own * tile.threads
        issue += vectors * sizes.taps * (sizes.block + 4) / busy_lanes
        load += vectors * sizes.taps * LANE_BYTES / 128
    rows, vectors = min(tile.rows, sizes.rows), min(tile.vectors, sizes.vectors)
    fetched = 1.0 * tile.depth * sizes.block * (rows + vectors * sizes.lanes) * sizes.item
    if sizes.together > 1:  # a sector of 32 bytes is fetched for less, too
        side = min(tile.vectors, sizes.together) * sizes.lanes * sizes.item
        fetched *= max(32 / side, 1.0)
    busy = max(issue, load, fetched / UNIT_BYTES)
    # While one waits the others work, and a prefetching one itself.
    wait = MEMORY_CYCLES + (SHARED_CYCLES * 2 if tile.staged else 0)
    alone = busy / blocks + macs / 4 * (not tile.staged)
    hidden = busy * (blocks - 1) + (alone if tile.prefetch and tile.staged else 0)
    in_flight = 1 if tile.staged else min(steps, 4)
    exposed = max(wait / in_flight - hidden, SHARED_CYCLES)
    last = 0.0
    if tile.slices > 1:
        pieces = -(-tile.rows * tile.vectors // tile.threads)
        last = 2 * SHARED_CYCLES + pieces * tile.slices * warps * blocks * sizes.lanes
    return steps * (busy * blocks + exposed) + last + 2 * MEMORY_CYCLES


def _near_lines(tile: ProductTile, sizes: Sizes, warp: int) -> tuple[float, float]:
    """Return the lines of 128 bytes of a warp's load of data, and of weights, when staged."""
    near = min(warp, tile.row_threads) * sizes.block * sizes.item
    far = max(warp // tile.row_threads, 1) * sizes.lanes * sizes.item
    return max(near / _LINE, 1), max(far / _LINE, 1)


def _far_lines(tile: ProductTile, sizes: Sizes, warp: int) -> tuple[float, float]:
    """Likewise from memory: vectors, and slices of K, that a warp meets lie apart."""
    rows = min(warp, tile.row_threads)
    if tile.order(sizes)[0] == "slice":
        slices = min(tile.slices, warp)
        vectors = max(warp // slices, 1)
    else:
        vectors = min(tile.vector_threads, warp // rows)
        slices = max(warp // (rows * vectors), 1)
    vector = LANE_BYTES / _LINE
    # Of one row, blocks of channels are neighbours; of several, a map lies between them.
    data = max(slices * vector, 1.0) if sizes.rows_apart else slices * max(rows * vector, 1.0)
    if sizes.together > 1:
        return data, slices * max(vectors * vector, 1.0)
    return data, slices * vectors


def candidates(sizes: Sizes, gpu: GpuSpec) -> Iterator[ProductTile]:
    """Return tiles worth reckoning: whole warps, no more than there is to do."""
    most_rows = 1 << max(sizes.rows - 1, 0).bit_length()
    most_vectors = 1 << max(sizes.vectors - 1, 0).bit_length()
    shared = gpu.block_shared > 0 or sizes.taps > 0
    for row_threads, row_each, vector_threads, vector_each in itertools.product(
        ROW_THREADS, ROWS, VECTOR_THREADS, VECTORS
    ):
        if row_threads * row_each > max(most_rows, row_threads) or row_threads > most_rows:
            continue
        if vector_threads * vector_each > most_vectors:
            continue
        for slices in SLICES if shared or sizes.rows == 1 else (1,):
            threads = row_threads * vector_threads * slices
            if slices > sizes.blocks or threads % gpu.warp or not gpu.warp <= threads <= 256:
                continue
            tile = ProductTile(row_threads, row_each, vector_threads, vector_each, slices)
            if (sizes.rows_apart and row_threads == 1) or not shared:
                yield replace(tile, depth=slices, staged=False)
            if shared and row_threads > 1:
                for depth in DEPTHS:
                    if depth % slices == 0 and depth <= max(sizes.blocks, slices):
                        # What is computed from loads waits for them at once.
                        yield replace(tile, depth=depth, prefetch=not sizes.taps)


@functools.lru_cache(maxsize=512)
def best_tile(sizes: Sizes, gpu: GpuSpec) -> ProductTile:
    """Return the tile that should take the fewest cycles.

    Parameters
    ----------
    sizes : Sizes
    gpu : GpuSpec
    """
    # The loads of a window, which ptxas may all put ahead: twice what is reckoned for them.
    most = _RULE_REGISTERS - 2 * WINDOW_REGISTERS * (sizes.taps > 0)
    smallest = ProductTile(1, 1, 1, 1, staged=False)
    fitting = (
        tile
        for tile in candidates(sizes, gpu)
        if tile.registers(sizes) <= most and tile.fits(sizes, gpu)
    )
    return min(fitting, key=lambda tile: cycles(tile, sizes, gpu), default=smallest)
