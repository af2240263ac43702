"""How long a matrix product should take on a GPU as it is cut up, and the best cut.

No GPU was at hand: the time of a tile is reckoned, from what a unit can issue, load and
wait for. The reckoning only has to put tiles into the right order.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from tvm_mobilenet.schedules.plans.gpu.product_tile import (
    DEPTHS,
    ROW_THREADS,
    ROWS,
    SLICES,
    VECTOR_THREADS,
    VECTORS,
    WINDOW_REGISTERS,
    ProductTile,
    Sizes,
    Tile,
    resident_blocks,
)

from tvm_mobilenet.machine import GpuSpec
from tvm_mobilenet.machine.gpu import LANE_BYTES, SCHEDULERS, UNIT_BYTES, WAVEFRONT_BYTES

MEMORY_CYCLES = 600
"""From asking L2 for something to having it; NVIDIA's parts take 200 to 800."""

SHARED_CYCLES = 30
"""From asking shared memory for something to a multiply-add that waited for it."""

FETCH_BYTES = UNIT_BYTES * 3 // 4
"""Bytes that a unit gets from L2 in a cycle: three quarters of what it can take."""

_RULE_REGISTERS = 208
"""Registers that the rule gives a thread at most: what it reckons may be wrong by some."""

_MOST_WINDOWS = 4
"""Vectors of a middle map that a thread computes in a step: with five, ptxas has registers in
memory on sm_80."""

AnyTile = TypeVar("AnyTile", bound=Tile)


def cycles(
    tile: AnyTile, sizes: Sizes, gpu: GpuSpec, wave: Callable[[AnyTile, Sizes, GpuSpec, int], float]
) -> float:
    """Return the cycles that a unit should take for its share of a product.

    Parameters
    ----------
    tile : Tile
        One that fits.
    wave : callable
        Cycles of a unit that holds so many blocks of threads at a time.
    """
    grid = -(-sizes.rows // tile.rows) * -(-sizes.vectors // tile.vectors)
    whole, rest = divmod(grid, gpu.units * (most := resident_blocks(tile, sizes, gpu)))
    total = whole * wave(tile, sizes, gpu, most)
    return total + (wave(tile, sizes, gpu, -(-rest // gpu.units)) if rest else 0)


def product_cycles(tile: ProductTile, sizes: Sizes, gpu: GpuSpec) -> float:
    """Return the cycles of a unit for its share of a product without tensor cores."""
    return cycles(tile, sizes, gpu, _wave)


def _wave(tile: ProductTile, sizes: Sizes, gpu: GpuSpec, blocks: int) -> float:
    """Cycles of a unit that holds so many blocks of threads at a time."""
    steps = -(-sizes.blocks // tile.depth)
    warps = -(-tile.threads // gpu.warp)
    turns = tile.depth // tile.slices
    # One step of one block of threads: what is issued, loaded from shared memory, fetched.
    macs = tile.row_each * tile.vector_each * sizes.block * sizes.lanes * turns
    loads = (tile.row_each + sizes.block * tile.vector_each) * turns
    each = blocks * warps / SCHEDULERS
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
        load += vectors * sizes.taps * LANE_BYTES / WAVEFRONT_BYTES
    rows, vectors = min(tile.rows, sizes.rows), min(tile.vectors, sizes.vectors)
    fetched = 1.0 * tile.depth * sizes.block * (rows + vectors * sizes.lanes) * sizes.item
    if sizes.together > 1:  # a sector of 32 bytes is fetched for less, too
        side = min(tile.vectors, sizes.together) * sizes.lanes * sizes.item
        fetched *= max(32 / side, 1.0)
    busy = max(issue, load, fetched / FETCH_BYTES)
    # While one waits the others work, and a prefetching one itself.
    wait = MEMORY_CYCLES + (SHARED_CYCLES * 2 if tile.staged else 0)
    hidden = busy * (blocks - 1) + (busy / blocks if tile.prefetch and tile.staged else 0)
    in_flight = 1 if tile.staged else min(steps, 4)
    exposed = max(wait / in_flight - hidden, SHARED_CYCLES)
    last = 0.0
    if tile.slices > 1:
        pieces = -(-tile.rows * tile.vectors // tile.threads)
        last = 2 * SHARED_CYCLES + pieces * tile.slices * warps * blocks * sizes.lanes
    return steps * (busy * blocks + exposed) + last + 2 * MEMORY_CYCLES


def _near_lines(tile: ProductTile, sizes: Sizes, warp: int) -> tuple[float, float]:
    """Return the wavefronts of a warp's load of data, and of weights, when staged."""
    near = min(warp, tile.row_threads) * sizes.block * sizes.item
    far = max(warp // tile.row_threads, 1) * sizes.lanes * sizes.item
    return max(near / WAVEFRONT_BYTES, 1), max(far / WAVEFRONT_BYTES, 1)


def _far_lines(tile: ProductTile, sizes: Sizes, warp: int) -> tuple[float, float]:
    """Return the same from memory, where vectors, and slices of K, that a warp meets lie apart."""
    rows = min(warp, tile.row_threads)
    if tile.order(sizes)[0] == "slice":
        slices = min(tile.slices, warp)
        vectors = max(warp // slices, 1)
    else:
        vectors = min(tile.vector_threads, warp // rows)
        slices = max(warp // (rows * vectors), 1)
    vector = LANE_BYTES / WAVEFRONT_BYTES
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
    """Return the tile that should take the fewest cycles."""
    # The loads of a window, which ptxas may all put ahead: twice what is reckoned for them.
    most = _RULE_REGISTERS - 2 * WINDOW_REGISTERS * (sizes.taps > 0)
    smallest = ProductTile(1, 1, 1, 1, staged=False)
    fitting = (
        tile
        for tile in candidates(sizes, gpu)
        if tile.registers(sizes) <= most
        and tile.fits(sizes, gpu)
        and (not sizes.taps or tile.depth * tile.rows <= _MOST_WINDOWS * tile.threads)
    )
    return min(fitting, key=lambda tile: product_cycles(tile, sizes, gpu), default=smallest)
