"""How a matrix product is cut up for tensor cores: what fits, how long it should take.

As :mod:`~tvm_mobilenet.schedules.plans.gpu.product_tile`, in fragments of 16 x 16 x 16, the shape
that CUDA's ``wmma`` has on every architecture since sm_70.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.gpu.product_cycles import (
    FETCH_BYTES,
    MEMORY_CYCLES,
    SHARED_CYCLES,
    cycles,
)
from tvm_mobilenet.schedules.plans.gpu.product_tile import (
    SMALL,
    WINDOW_REGISTERS,
    Sizes,
    resident_blocks,
)
from tvm_mobilenet.schedules.plans.gpu.threads import VECTOR_REGISTERS

from tvm_mobilenet.machine import ITEM_BYTES, GpuSpec
from tvm_mobilenet.machine.gpu import LANE_BYTES, SCHEDULERS, WAVEFRONT_BYTES

FRAGMENT = 16
"""Rows, columns and depth of a fragment."""

HALVES = LANE_BYTES // ITEM_BYTES["float16"]
"""float16 elements of a vector: a channel block."""

_FLOAT = ITEM_BYTES["float32"]
"""Bytes of a sum."""

WARPS = (1, 2, 4)
FRAGMENTS = (1, 2, 4)
SLICES = (1, 2, 4, 8)
DEPTHS = (2, 4, 8, 16, 32)

_RULE_REGISTERS = 184
"""Registers that the rule gives a thread at most: what it reckons may be wrong by some."""


@dataclass(frozen=True, slots=True)
class TensorTile:
    """What a block of warps computes, and how it is dealt out.

    Attributes
    ----------
    row_warps, column_warps, slices : int
        Warps of a block along rows, output channels, and K.
    row_fragments, column_fragments : int
        Fragments of a warp's sums.
    depth : int
        Channel blocks of K in a step: a multiple of two for each slice.
    prefetch : bool
        Whether a step's operands are fetched, into registers, during the one before.
    """

    row_warps: int
    row_fragments: int
    column_warps: int
    column_fragments: int
    slices: int = 1
    depth: int = 2
    prefetch: bool = False

    @property
    def rows(self) -> int:
        """Rows of a block of threads."""
        return FRAGMENT * self.row_warps * self.row_fragments

    @property
    def vectors(self) -> int:
        """Output vectors of a block of threads."""
        return FRAGMENT // HALVES * self.column_warps * self.column_fragments

    @property
    def warps(self) -> int:
        """Warps of a block of threads."""
        return self.row_warps * self.column_warps * self.slices

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 32 * self.warps

    @property
    def staged(self) -> bool:
        """Always: fragments are loaded from shared memory."""
        return True

    @property
    def columns(self) -> int:
        """Floats of a row of sums in shared memory: four more than there are, for the banks."""
        return self.vectors * HALVES + 4

    def places(self, sizes: Sizes) -> tuple[int, int]:
        """Return the places, in vectors, of a row's channels and of a channel's vectors.

        One more than there are, for the banks.
        """
        return self.depth + 1, self.vectors + 1

    def shared_bytes(self, sizes: Sizes) -> int:
        """Return the shared memory of a block of threads."""
        data = self.rows * (self.depth + 1)
        weights = self.depth * HALVES * (self.vectors + 1)
        return LANE_BYTES * (data + weights) + _FLOAT * self.slices * self.rows * self.columns

    def registers(self, sizes: Sizes) -> int:
        """Return the registers of a thread that are enough, by all that nvcc reported.

        Sums, fragments, what is prefetched; and fragments that nvcc loads ahead: many for
        Turing, whose instruction is half as deep, few for Hopper.
        """
        held = 8 * (
            self.row_fragments * self.column_fragments + self.row_fragments + self.column_fragments
        )
        if self.prefetch:
            held += VECTOR_REGISTERS * -(-self.depth * self.rows // self.threads)
            held += VECTOR_REGISTERS * -(-self.depth * HALVES * self.vectors // self.threads)
        return held + 80 + WINDOW_REGISTERS * (sizes.taps > 0)

    def fits(self, sizes: Sizes, gpu: GpuSpec) -> bool:
        """Whether a unit can hold a block of threads, without registers in memory."""
        return (
            self.threads <= min(gpu.block_threads, 512)
            and self.registers(sizes) <= gpu.thread_registers
            and self.shared_bytes(sizes) <= SMALL
            and resident_blocks(self, sizes, gpu) > 0
        )


def takes(sizes: Sizes, dtype: str, gpu: GpuSpec) -> bool:
    """Whether a product can run on tensor cores.

    Parameters
    ----------
    dtype : str
        What the multiplied elements are stored as.
    """
    whole = sizes.block == sizes.lanes == HALVES
    return gpu.kind == "cuda" and gpu.tensor_macs > 0 and dtype == "float16" and whole


def tensor_cycles(tile: TensorTile, sizes: Sizes, gpu: GpuSpec) -> float:
    """Return the cycles of a unit for its share of a product on tensor cores."""
    return cycles(tile, sizes, gpu, _wave)


def _wave(tile: TensorTile, sizes: Sizes, gpu: GpuSpec, blocks: int) -> float:
    """Cycles of a unit that holds so many blocks of threads at a time."""
    steps = -(-sizes.blocks // tile.depth)
    turns = tile.depth * HALVES // (FRAGMENT * tile.slices)
    each = blocks * tile.warps / SCHEDULERS
    busy_lanes = min(each, 1.0) * min(0.5 + 0.25 * max(each - 1, 0), 1.0) * gpu.tensor_macs
    fragments = tile.row_fragments * tile.column_fragments
    issue = turns * tile.warps * fragments * FRAGMENT**3 / busy_lanes
    loads = tile.row_fragments + tile.column_fragments
    load = turns * tile.warps * loads * ITEM_BYTES["float16"] * FRAGMENT**2 / WAVEFRONT_BYTES
    fetched = LANE_BYTES * tile.depth * (tile.rows + HALVES * tile.vectors)
    load += fetched / WAVEFRONT_BYTES
    if sizes.taps:  # on the other cores, meanwhile
        loads = -(-tile.depth * tile.rows // tile.threads) * tile.threads * sizes.taps
        load += loads * (HALVES + 8) / gpu.fp32_macs + loads * LANE_BYTES / WAVEFRONT_BYTES
    busy = max(issue, load, fetched / FETCH_BYTES)
    hidden = busy * (blocks - 1) + (busy / blocks if tile.prefetch else 0)
    exposed = max(MEMORY_CYCLES + 2 * SHARED_CYCLES - hidden, 2 * SHARED_CYCLES)
    sums = _FLOAT * tile.rows * tile.columns * tile.slices * blocks / WAVEFRONT_BYTES
    return steps * (busy * blocks + exposed) + 2 * sums + 2 * MEMORY_CYCLES


def candidates(sizes: Sizes) -> Iterator[TensorTile]:
    """Return tiles worth reckoning: no more than twice what there is to do."""
    for row_warps, row_each, column_warps, column_each, slices, depth in itertools.product(
        WARPS, FRAGMENTS, WARPS, FRAGMENTS, SLICES, DEPTHS
    ):
        tile = TensorTile(
            row_warps, row_each, column_warps, column_each, slices, depth, prefetch=not sizes.taps
        )
        if depth % (2 * slices) or depth >= sizes.blocks + 2 * slices:
            continue
        if tile.rows >= 2 * max(sizes.rows, FRAGMENT):
            continue
        if tile.vectors >= 2 * max(sizes.vectors, 2) or not 2 <= tile.warps <= 8:
            continue
        yield tile


@functools.lru_cache(maxsize=512)
def best_tensor_tile(sizes: Sizes, gpu: GpuSpec) -> TensorTile:
    """Return the tile that should take the fewest cycles."""
    fitting = (
        t for t in candidates(sizes) if t.registers(sizes) <= _RULE_REGISTERS and t.fits(sizes, gpu)
    )
    default = TensorTile(1, 1, 1, 1)
    return min(fitting, key=lambda tile: tensor_cycles(tile, sizes, gpu), default=default)


def choose_tensor_tile(knobs: Knobs, sizes: Sizes, gpu: GpuSpec) -> TensorTile:
    """Ask for a tile.

    Parameters
    ----------
    knobs : Knobs
        ``row_warps``, ``row_fragments``, ``column_warps``, ``column_fragments``,
        ``slices``, ``depth`` and ``prefetch``: see :class:`TensorTile`.
    """
    best = best_tensor_tile(sizes, gpu)
    tile = TensorTile(1, 1, 1, 1)
    for field, options in (
        ("row_warps", WARPS),
        ("row_fragments", FRAGMENTS),
        ("column_warps", WARPS),
        ("column_fragments", FRAGMENTS),
        ("slices", SLICES),
        ("depth", DEPTHS),
    ):

        def changed(value: int, field: str = field, tile: TensorTile = tile) -> TensorTile:
            changes = {field: value, **({"depth": 2 * value} if field == "slices" else {})}
            return replace(tile, **changes)  # type: ignore[arg-type]

        allowed = [
            o
            for o in options
            if changed(o).fits(sizes, gpu) and (field != "depth" or o % (2 * tile.slices) == 0)
        ]
        default = getattr(best, field)
        value = knobs.choice(field, allowed, default if default in allowed else allowed[-1])
        tile = changed(value)
    ways = ["none"]
    if replace(tile, prefetch=True).fits(sizes, gpu):
        ways.append("registers")
    way = knobs.choice("prefetch", ways, ways[best.prefetch and len(ways) > 1])
    return replace(tile, prefetch=way == "registers")
