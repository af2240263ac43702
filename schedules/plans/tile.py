"""Register tiles: how many pixels and channel vectors of the output stay in registers.

A micro-kernel keeps ``pixels x vectors`` accumulators in vector registers over
its whole reduction. At every step it loads one weight vector per output vector,
broadcasts one input element per pixel, and does ``pixels * vectors``
multiply-adds. The rule here predicts its cycles from two numbers that every
out-of-order core of the last ten years shares: two multiply-add pipes (one on
small in-order cores, which changes no ranking) and two loads a cycle.

A **staged** tile loads a vector of each pixel's input at once, and multiplies by its
lanes one after the other, as NEON's ``FMLA`` can: a quarter of the input's loads. Cores
that it is for differ more, so that their pipes and loads are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.threads import imbalance

from tvm_mobilenet.machine import Isa, TargetSpec
from tvm_mobilenet.machine.arithmetic import LATENCY
from tvm_mobilenet.machine.arm_cores import keeps_order, loads_per_cycle
from tvm_mobilenet.operators.workload import Workload

_PIPES = 2
"""Vector multiply-adds, and vector loads, that start in a cycle; the rule takes the same for
every machine."""

_STORE = 3
"""Cycles to add the bias to an accumulator, clip it and store it."""

_TILE = 6
"""Cycles to start a tile: loop control and the first loads."""

_STAGED_LANES = 4
"""Elements of a staged vector: those of NEON."""

MAX_PIXELS = 14
MAX_VECTORS = 4


@dataclass(frozen=True, slots=True)
class Tile:
    """Accumulators of a micro-kernel: `pixels` times `vectors`.

    Attributes
    ----------
    staged : bool
        Whether a pixel's input is loaded by vectors and multiplied by their lanes.
    """

    pixels: int
    vectors: int
    staged: bool = False

    @property
    def loaded(self) -> float:
        """Vectors that a step of the reduction loads: a broadcast counts as one."""
        return (self.pixels / _STAGED_LANES if self.staged else self.pixels) + self.vectors


_SPARE: dict[Isa, int] = {
    "avx512": 3,
    "avx2": 1,
    "sse": 5,
    "neon": 9,
    "neon32": 5,
    "rvv": 3,
    "scalar": 9,
}
"""Registers beside accumulators and weights that a micro-kernel wants.

x86 multiplies by what it loads: one broadcast is enough, and two more of AVX-512's
many (14 x 2 spills under a ``parallel`` loop). SSE overwrites an operand with the
product. The others hold several broadcasts at once. Found by compiling every tile and
looking for spills, as tests/unit/test_assembly.py does."""


_STAGED_SPARE = 2
"""Registers that a staged tile leaves. 10 x 2, which takes all, spills on Neoverse N1, and 7 x 3,
which leaves one, does so where the reduction is of 16 or 24 channels."""

_STAGED_SPARE_IN_ORDER = 4
"""The same where LLVM loads far ahead of the use: 5 x 4 spills on Cortex-A55. Both found by
compiling every tile for 16 cores, and the layers of MobileNet V2."""


_STREAMED = 2.2
"""Cycles in which a vector of weights that is used once comes from L3: 29 bytes a cycle."""

_ON_STACK = 1024
"""Bytes up to which TVM puts accumulators on the stack, from where LLVM takes them into
registers (kMaxStackAlloca). Beyond, TVM's allocator is called for every unit, and they
stay in memory where the tile has a tail: 7 x 3 tiles of AVX-512 vectors lost 1 to 3%."""


def fits(tile: Tile, target: TargetSpec) -> bool:
    """Whether a tile's accumulators, its weights and a step's inputs fit the registers."""
    accumulators, weights = tile.pixels * tile.vectors, tile.vectors
    if accumulators * target.arithmetic("float32").vector_bytes > _ON_STACK:
        return False
    if tile.staged:
        spare = _STAGED_SPARE_IN_ORDER if keeps_order(target.cpu) else _STAGED_SPARE
        return accumulators + tile.pixels + weights + spare <= target.registers
    return accumulators + weights + _SPARE[target.isa] <= target.registers


Fits = Callable[[Tile, TargetSpec], bool]
"""Whether a tile's working set fits the registers."""


def stages(work: Workload, target: TargetSpec) -> bool:
    """Whether a product's tiles are staged: a lane can be multiplied by, and fills a block.

    Narrower blocks, of one to three channels, are of layers that are small.
    """
    lanes = target.lanes
    whole = work.in_block == lanes == _STAGED_LANES and work.out_block % lanes == 0
    return target.isa == "neon" and work.dtype == "float32" and whole


def _step_cycles(tile: Tile, target: TargetSpec) -> float:
    pipes = loads = float(_PIPES)
    if tile.staged:
        pipes, loads = target.arithmetic("float32").per_cycle, loads_per_cycle(target.core)
    macs = tile.pixels * tile.vectors / pipes
    return max(macs, tile.loaded / loads, float(LATENCY))


def _run_cycles(pixels: int, tile: Tile, depth: int, target: TargetSpec) -> float:
    """Cycles for one vector group: whole tiles, then the shorter last one."""
    whole, rest = divmod(pixels, tile.pixels)
    steps = whole * _step_cycles(tile, target)
    if rest:
        steps += _step_cycles(replace(tile, pixels=rest), target)
    return depth * steps + _STORE * pixels * tile.vectors + _TILE * (whole + bool(rest))


def covering_cycles(tile: Tile, rows: int, vectors: int, depth: int, target: TargetSpec) -> float:
    """Return the cycles of a product whose tiles cover rows and vectors, the last ones twice."""
    count = -(-rows // tile.pixels) * -(-vectors // tile.vectors)
    return count * _run_cycles(tile.pixels, tile, depth, target)


def chunk_options(pixels: int, tile: Tile) -> list[int]:
    """List the numbers of chunks that the pixels can be cut into.

    Chunks hold whole tiles and are all the same size: TVM takes a loop's shorter
    last tile apart at compile time only if the loop is not cut further. Where it
    is, the bounds check stays inside the micro-kernel (230 → 98 GFLOP/s).

    Returns
    -------
    list of int
        Ascending, at most 64; [1] where the pixels have a tail.
    """
    if pixels % tile.pixels:
        return [1]
    tiles = pixels // tile.pixels
    return [i for i in range(1, min(tiles, 64) + 1) if tiles % i == 0]


def best_tile(  # noqa: PLR0917  sizes, from outer to inner
    pixels: int,
    blocks: int,
    depth: int,
    target: TargetSpec,
    batch: int = 1,
    rows: int = 0,
    fit: Fits = fits,
    *,
    staged: bool = False,
) -> Tile:
    """Choose the register tile with the fewest predicted cycles on the slowest thread.

    Parameters
    ----------
    pixels : int
        Pixels that one sweep of tiles covers.
    blocks : int
        Output channel vectors.
    depth : int
        Steps of the reduction.
    batch : int
        Images.
    rows : int
        Units that threads share besides; 0 where they share chunks and groups.
    fit : callable
        What fits the registers.
    staged : bool
        Whether its input is.

    Returns
    -------
    Tile
        Divides `blocks`, so that only pixels have tails. Among near equals (1%),
        the one whose pixels are nearest to 7: the code that never spilled. Of staged
        tiles the one that loads least for a multiply-add, so that it takes the fewest
        instructions, of which a Neoverse N1 decodes four a cycle.
    """
    options = [
        tile
        for v in range(1, min(MAX_VECTORS, blocks) + 1)
        if blocks % v == 0
        for p in range(1, min(MAX_PIXELS, pixels) + 1)
        if fit(tile := Tile(p, v, staged), target)
    ]

    def cycles(tile: Tile) -> float:
        groups = blocks // tile.vectors
        total = _run_cycles(pixels, tile, depth, target) * groups
        if pixels * batch == 1 and target.cores > 1:
            total = max(total, depth * blocks * _STREAMED)
        if rows:
            return total * imbalance(batch * rows, target.cores)
        units = (batch * groups * i for i in chunk_options(pixels, tile))
        return total * min(imbalance(unit, target.cores) for unit in units)

    fewest = min(map(cycles, options))
    near = [tile for tile in options if cycles(tile) <= 1.01 * fewest]
    if staged:
        return min(near, key=lambda tile: tile.loaded / (tile.pixels * tile.vectors))
    return min(near, key=lambda tile: (abs(tile.pixels - 7), tile.vectors))


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
    best : Tile
        What the rule chose.
    pixels, blocks : int
        What there is to tile: pixels, and channel vectors (which a tile divides).
    fit : callable
        What fits the registers.

    Returns
    -------
    Tile
        Fits the registers; staged if the rule's is.
    """
    vectors = knobs.choice(
        "vectors",
        [v for v in range(1, MAX_VECTORS + 1) if blocks % v == 0],
        best.vectors,
    )
    allowed = [
        p
        for p in range(1, min(MAX_PIXELS, pixels) + 1)
        if fit(Tile(p, vectors, best.staged), target)
    ] or [1]
    default = best.pixels if best.pixels in allowed else allowed[-1]
    return Tile(knobs.choice("pixels", allowed, default), vectors, best.staged)


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
