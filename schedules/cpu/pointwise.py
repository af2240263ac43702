"""Pointwise (1 x 1) convolution: a matrix product that never leaves the registers.

Pattern
    ``accumulate(n, o, p, c; k)`` into ``out(n, o, p, c)``, operator "pointwise".

Loop nest, outer to inner
    (n, pixel chunk, vector group) on threads → tiles of pixels in the chunk →
    reduction: channel step outer, step inner → pixels of the tile → vectors → lanes

Registers
    pixels x vectors accumulators, one weight vector per output vector, one
    broadcast: 7 x 2 + 2 + 1 = 17 of 32 with AVX-512, 6 x 2 + 2 + 1 = 15 of 16
    with AVX2.

Traffic
    Every multiply-add reads registers and L1. A vector group's weights (depth x
    vectors x lanes x 4 bytes: 64 KB at depth 512) are reread from L1/L2 for each
    tile, 18 bytes a cycle at 7 x 2; the chunk's activations are reread for each
    vector group, so a chunk is at most half of L2.

Bound
    Multiply-add throughput. Measured on one Zen 5 core (238 GFLOP/s): 204 to 238
    GFLOP/s over the layers of MobileNet V1 1.0/224, see benchmarks/layers.py.

What lost
    Pixels outside, vector groups inside (202 to 231 GFLOP/s: the stores of one tile
    then go to addresses that are multiples of 4096 bytes apart). 14 x 2 spills
    under ``parallel``; 7 x 4 spills everywhere (90 to 230).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm_mobilenet.schedules.cpu.micro_kernel import (
    extent,
    keep_in_registers,
    peel_tail,
    write_back,
)
from tvm_mobilenet.schedules.cpu.prefetch import LINE, Prefetch, for_others
from tvm_mobilenet.schedules.cpu.threads import ELEMENT, choose_chunks, share
from tvm_mobilenet.schedules.cpu.tile import (
    MAX_PIXELS,
    MAX_VECTORS,
    Fits,
    Tile,
    best_tile,
    chunk_options,
    fits,
)
from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.target import TargetSpec

_MANY_STREAMS = 128
"""Reduction steps from which prefetching pays: eight streams of AVX-512 blocks."""

_FEW_PIXELS = 224
"""Pixels that share a weight panel, up to which its first reader waits for it noticeably."""


def schedule_pointwise(sch: Any, knobs: Knobs, target: TargetSpec) -> list[Prefetch]:
    """Schedule a pointwise convolution.

    Parameters
    ----------
    sch : s_tir.Schedule
        Over the function of a pointwise workload.
    knobs : Knobs
        ``vectors`` and ``pixels``: accumulators; ``chunks``: pieces that the pixels
        are cut into; ``prefetch``: none, input or weights; ``threads``: all or one.
    target : TargetSpec

    Returns
    -------
    list of Prefetch
    """
    accumulate, out = sch.get_sblock("accumulate"), sch.get_sblock("out")
    n, o, p, c = sch.get_loops(out)
    batch, blocks, pixels, lanes = (extent(sch, loop) for loop in (n, o, p, c))
    depth = extent(sch, sch.get_loops(accumulate)[-1])

    best = best_tile(pixels, blocks, depth, target, batch)
    tile = choose_tile(knobs, best, pixels, blocks, target)
    groups = blocks // tile.vectors
    options = chunk_options(pixels, tile)
    chunks = choose_chunks(knobs, options, 4 * depth * pixels, batch * groups, target)

    tile_loop, pixel = sch.split(p, [None, tile.pixels])
    chunk, tile_loop = sch.split(tile_loop, [chunks, None])
    group, vector = sch.split(o, [None, tile.vectors])
    sch.reorder(n, chunk, group, tile_loop, pixel, vector, c)
    units = sch.fuse(n, chunk, group)
    sch.compute_at(accumulate, tile_loop, preserve_unit_loops=True)
    vectors, tile_pixels, tile_lanes, k = sch.get_loops(accumulate)[-4:]
    steps = inner_steps(depth, lanes, target)
    outer, inner = sch.split(k, [None, steps])
    macs = blocks * lanes * depth * max(batch * pixels, ELEMENT)
    share(sch, units, macs, knobs, target)
    keep_in_registers(sch, accumulate, [outer, inner], [tile_pixels, vectors], tile_lanes)
    write_back(sch, [pixel, vector], c)

    tiles = -(-pixels // tile.pixels) // chunks
    default = what_to_prefetch(pixels, chunks, depth, target)
    choice = knobs.choice("prefetch", ["none", "input", "weights"], default)
    # LLVM takes this one tail apart without a spill, and better: 153 µs for 157 at 10 x 10 x 384.
    if choice != "weights" or target.isa != "avx512":
        peel_tail(sch, tile_loop)
    loops = [units, tile_loop, outer]
    others = for_others(sch, loops, [batch * chunks * groups, tiles, depth // steps])
    in_block = int(sch.mod["main"].params[0].ty.shape[-1])
    places = Places(tile, groups, chunks, tiles, depth // steps, steps, (in_block, lanes))
    return [*prefetched(choice, places, outer, loops), *others]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the loops of a pointwise layer are in its map and weights.

    Attributes
    ----------
    tile : Tile
    groups, chunks : int
        Vector groups, and pieces that an image's pixels are cut into.
    tiles : int
        Of a chunk.
    outer, inner : int
        Steps of the reduction.
    blocks : tuple of int
        Channels in a block of the input and of the output.
    """

    tile: Tile
    groups: int
    chunks: int
    tiles: int
    outer: int
    inner: int
    blocks: tuple[int, int]


def prefetched(choice: str, places: Places, at: Any, loops: Sequence[Any]) -> list[Prefetch]:
    """Prefetch, at every outer step of the reduction, a share of what comes next.

    Parameters
    ----------
    choice : {"none", "input", "weights"}
        Input: the next tile's pixels of the same channels; weights: the next group's.
    places : Places
    at : LoopRV
        The loop of the outer steps.
    loops : sequence of LoopRV
        Units, tiles and outer steps.

    Returns
    -------
    list of Prefetch
    """
    tile, groups, tiles = places.tile, places.groups, places.tiles
    in_block, lanes = places.blocks

    def next_tile(unit: Any, at: Any, step: Any) -> list[tuple[Any, ...]]:
        first = (unit // groups % places.chunks * tiles + at + 1) * tile.pixels
        image, block = unit // (groups * places.chunks), step * places.inner // in_block
        apart = max(LINE // in_block, 1)
        return [(image, block, first + i, 0) for i in range(0, tile.pixels, apart)]

    def next_group(unit: Any, at: Any, step: Any) -> list[tuple[Any, ...]]:
        depth, rows = places.outer * places.inner, max(LINE // lanes, 1)
        each = -(-tile.vectors * depth // (rows * tiles * places.outer))
        first = (at * places.outer + step) * each
        group = (unit + 1) % groups * tile.vectors
        found = [(first + i) * rows for i in range(each)]
        return [(group + place // depth, place % depth, 0) for place in found]

    if choice == "none":
        return []
    parameter, indices = (0, next_tile) if choice == "input" else (1, next_group)
    return [Prefetch(at, parameter, indices, loops)]


def what_to_prefetch(pixels: int, chunks: int, depth: int, target: TargetSpec) -> str:
    """Choose to prefetch what is read for the first time faster than it arrives.

    Where few pixels share a weight panel, the first tile of them would wait for it. A map
    that fills half of L2 comes from beyond it, in one stream per channel block: hardware
    follows few.
    """
    if depth < _MANY_STREAMS:
        return "none"
    if pixels // chunks <= _FEW_PIXELS:
        return "weights"
    return "input" if 4 * depth * pixels * 2 >= target.l2_bytes > 0 else "none"


def choose_tile(  # noqa: PLR0917  the rule's answer, and what it was made for
    knobs: Knobs,
    best: Tile,
    pixels: int,
    blocks: int,
    target: TargetSpec,
    fit: Fits = fits,
) -> Tile:
    """Ask for a register tile, by the names ``pixels`` and ``vectors``.

    Parameters
    ----------
    knobs : Knobs
    best : Tile
        What the rule chose.
    pixels, blocks : int
        What there is to tile: pixels, and channel vectors (which a tile divides).
    target : TargetSpec
    fit : callable
        What fits the registers.

    Returns
    -------
    Tile
        Fits the registers.
    """
    vectors = knobs.choice(
        "vectors",
        [v for v in range(1, MAX_VECTORS + 1) if blocks % v == 0],
        best.vectors,
    )
    allowed = [
        p for p in range(1, min(MAX_PIXELS, pixels) + 1) if fit(Tile(p, vectors), target)
    ] or [1]
    default = best.pixels if best.pixels in allowed else allowed[-1]
    return Tile(knobs.choice("pixels", allowed, default), vectors)


def inner_steps(depth: int, lanes: int, target: TargetSpec) -> int:
    """Return how many steps LLVM sees, and unrolls, at once: a channel block, or eight.

    32-bit ARM loads a broadcast from a bare address only, so that each step of each
    pixel takes an address register: two steps at once leave enough (eight at 6 x 2
    took 593 instructions for 96 multiply-adds; two at 4 x 2 take 44 for 16). On 64-bit
    ARM a block at once: LLVM moves the loads of eight steps so far up that 8 x 2 spills.
    """
    steps = {"neon": lanes, "neon32": 2}.get(target.isa, max(lanes, 8))
    while depth % steps:
        steps //= 2
    return steps
