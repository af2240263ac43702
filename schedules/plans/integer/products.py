"""The plans of products in integers; see ``tensorir/cpu/integer/products`` for their loops."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.threads import ELEMENT, divisors, imbalance, share

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

_TILES = ((14, 2), (12, 2), (8, 3), (7, 3), (7, 2), (6, 4), (4, 4), (8, 2), (4, 2), (8, 1), (4, 1),
          (2, 8), (1, 14), (1, 8), (2, 4), (2, 2), (1, 4), (1, 2), (2, 1), (1, 1), (6, 2), (3, 2),
          (5, 2), (6, 1), (3, 1), (16, 1), (12, 1), (4, 3))  # fmt: skip
"""Pixels and blocks of output channels of a tile of sums."""

_HALF_TILES = (*_TILES, (7, 1), (5, 1))
"""The same where a register holds eight sums of float16, whose tiles stay small: a register of
inputs for each pixel is kept beside them."""

_LATENCY = 8
"""Steps that must be under way at once: four cycles, two a cycle."""


_PAIRED_LATENCY = 6
"""Steps of ``vdpbf16ps`` that must be under way at once: six cycles, one a cycle (Zen 4)."""

_LOAD = 1.5
"""Cycles of a load of 64 bytes, or of four bytes into every lane (Zen 4)."""

_OVERLAPPED = 8
"""Sums of ``vdpbf16ps`` up to which a processor rounds those of a tile while it adds up those of
the next one; the inputs of a tile of one block are broadcast by the instruction itself. On a
Zen 4, in µs, tiles of 8 x 1 and of 14 x 2: 16 to 96 channels at 112 x 112 173 and 226; 24 to 144
at 56 x 56 95 and 129; 96 to 576 at 14 x 14 95 and 98; 512 to 512 there 445 and 440."""


@dataclass(frozen=True, slots=True)
class ProductPlan:
    """How a product in integers is cut.

    Attributes
    ----------
    pixels, blocks : int
        A tile of sums has so many pixels, and so many blocks of 16 output channels.
    chunks : int
        Pieces that an image's tiles (of a convolution: its rows) are cut into.
    units : int
        What threads can share: chunks of groups of blocks of images.
    parallel : bool
        Whether they do.
    """

    pixels: int
    blocks: int
    chunks: int
    units: int
    parallel: bool

    def tiles(self, count: int) -> int:
        """Tiles that a number of pixels takes, the last one beside or over the one before."""
        return -(-count // self.pixels)


def vectors_of(target: TargetSpec) -> int:
    """Return the registers that sums of 16 channels take."""
    if target.half_products:
        return 16 // target.arithmetic(target.dtype).lanes
    return 16 // {"avx512": 16, "avx2": 8}.get(target.isa, 4)


def plan_product(work: Workload, knobs: Knobs, target: TargetSpec) -> ProductPlan:
    """Plan a pointwise layer or a classifier.

    Parameters
    ----------
    knobs : Knobs
        ``tile``: pixels and blocks of sums, such as ``"14x2"``; ``chunks``: pieces of the
        pixels; ``threads``: all or one.
    """
    pixels, blocks = work.out_pixels, work.out_blocks
    tile = choose_tile(knobs, work, pixels, work.depth // work.step, target)
    groups = -(-blocks // tile[1])
    tiles = -(-pixels // tile[0])
    options = divisors(tiles)
    default = min(options, key=lambda i: (_uneven(work.batch * groups * i, target), i))
    chunks = knobs.choice("chunks", options, default)
    units = work.batch * groups * chunks
    # Weights that few pixels share take as long as they need to arrive.
    macs = work.macs // work.step * max(ELEMENT // pixels, 1)
    return ProductPlan(*tile, chunks, units, share(units, macs, knobs, target))


def plan_rows_of_products(work: Workload, knobs: Knobs, target: TargetSpec) -> ProductPlan:
    """Plan a full convolution: tiles lie in rows, and threads share rows.

    Parameters
    ----------
    knobs : Knobs
        As for :func:`plan_product`.
    """
    height, width = work.out_size
    steps = work.depth // work.step * math.prod(work.kernel)
    tile = choose_tile(knobs, work, width, steps, target)
    options = divisors(height)
    default = min(options, key=lambda i: (_uneven(work.batch * i, target), abs(i - 4)))
    chunks = knobs.choice("chunks", options, default)
    units = work.batch * chunks
    return ProductPlan(*tile, chunks, units, share(units, work.macs // work.step, knobs, target))


def choose_tile(
    knobs: Knobs, work: Workload, pixels: int, steps: int, target: TargetSpec
) -> tuple[int, int]:
    """Ask for a tile: of those that registers hold, the one with the least to do.

    A step multiplies pixels times blocks, and loads a block's weights and a pixel's inputs; what
    is beyond the map's end is computed twice; sums become elements, however many there are.

    Of tiles with as much to do AVX-512 takes the smallest that hides latency: a processor then
    rounds one while it multiplies the next. On a Zen 4, 4x2 took 0.43 of 14x2's time in a first
    convolution, 0.80 to 0.99 where depth is up to 200, as long beyond.

    Parameters
    ----------
    steps : int
        Instructions that a register of sums takes.
    """
    vectors, rows, blocks = vectors_of(target), work.rows, work.out_blocks
    halves = work.half_products > 0
    paired = work.dtype == "bfloat16"  # an instruction adds up two products, not four
    fitting = [
        (p, b)
        for p, b in (_HALF_TILES if halves else _TILES)
        if p <= pixels and b <= blocks and p % rows == 0 and _fits((p, b), work, target)
    ] or [(rows, 1)]

    def cost(tile: tuple[int, int]) -> float:
        p, b = tile
        sums = p * b * vectors
        if paired and vectors == 1:
            loads = p if b == 1 else _LOAD * (p + b)
            step = max(sums, _PAIRED_LATENCY, loads)
            each = steps * step + sums * (1 if b == 1 and sums <= _OVERLAPPED else 4)
        else:
            each = steps * max(sums, _LATENCY / 2, (p + b * vectors)) + sums * 4
            if halves:  # inputs of eight steps come at once
                each = steps * max(sums, _LATENCY, p / _LATENCY + b * vectors) + sums * 4
        return -(-pixels // p) * -(-blocks // b) * each

    def size(tile: tuple[int, int]) -> tuple[int, int]:
        sums = tile[0] * tile[1]
        return (max(sums, _LATENCY), -tile[0]) if vectors == 1 else (-sums, 0)

    best = min(fitting, key=lambda tile: (cost(tile), *size(tile)))
    names = [f"{p}x{b}" for p, b in fitting]
    chosen = str(knobs.choice("tile", names, f"{best[0]}x{best[1]}"))
    p, _, b = chosen.partition("x")
    return int(p), int(b)


def _fits(tile: tuple[int, int], work: Workload, target: TargetSpec) -> bool:
    """Whether registers hold a tile's sums and what is multiplied meanwhile.

    That is a block's weights and a pixel's inputs; where inputs are read ahead of several steps
    (float16, two rows), those of every pixel. A tile of 6 x 1 SMMLA has LLVM spill: 37
    multiply-adds a cycle instead of 53 (llvm-mca, Neoverse N2).
    """
    (p, b), vectors = tile, vectors_of(target)
    registers = 32 if target.isa in ("avx512", "neon", "rvv") else 16
    if work.rows > 1:
        return p * b * vectors + p + vectors <= registers
    spare = 3 if vectors == 1 else vectors + 1
    taken = (p * b + b) * vectors + (p if work.half_products else spare)
    return taken <= registers + vectors


def _uneven(units: int, target: TargetSpec) -> float:
    """Return how uneven threads share units, below 10% being even."""
    return max(imbalance(units, target.cores), 1.1)
