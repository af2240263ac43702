"""The plan of products on plain matrices: of tokens with weights, of tokens with each other.

Rows and columns are covered by register tiles. The last tiles end with the matrix, where they
compute again what the ones before them have: there are no tails.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.threads import fewest_even, share
from tvm_mobilenet.schedules.plans.tile import MAX_PIXELS, MAX_VECTORS, Tile, covering_cycles, fits

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.details import lanes_of
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import Workload

_MOST_CHUNKS = 64


@dataclass(frozen=True, slots=True)
class RowsPlan:
    """How a product of matrices is cut.

    Attributes
    ----------
    tile : Tile
        Accumulators: its pixels are rows.
    groups, chunks : int
        Groups of column vectors, and pieces that the rows are cut into.
    tiles : int
        Tiles of a chunk.
    units : int
        What threads can share: chunks of groups of matrices.
    parallel : bool
        Whether they do.
    """

    tile: Tile
    groups: int
    chunks: int
    tiles: int
    units: int
    parallel: bool


def plan_linear(work: Workload, knobs: Knobs, target: TargetSpec) -> RowsPlan:
    """Plan rows times weights: ``pixels`` and ``vectors`` of a tile, ``chunks``, ``threads``."""
    return _planned(work, 1, work.batch, work.out_blocks, work.in_channels, knobs, target)


def plan_product(work: Workload, knobs: Knobs, target: TargetSpec) -> RowsPlan:
    """Plan products of tensors: the same choices."""
    vectors = -(-work.out_size[1] // lanes_of(work))
    sizes = (work.batch, work.out_channels, vectors, work.in_size[1])
    return _planned(work, *sizes, knobs, target)


def _planned(  # noqa: PLR0917  the sizes of a product, from outer to inner
    work: Workload, batch: int, rows: int, vectors: int, depth: int, knobs: Knobs,
    target: TargetSpec,
) -> RowsPlan:  # fmt: skip
    options = [
        Tile(p, v)
        for v in range(1, min(MAX_VECTORS, vectors) + 1)
        for p in range(1, min(MAX_PIXELS, rows) + 1)
        if fits(Tile(p, v), target)
    ]
    best = min(options, key=lambda tile: covering_cycles(tile, rows, vectors, depth, target))
    wide = knobs.choice("vectors", sorted({tile.vectors for tile in options}), best.vectors)
    high = [tile.pixels for tile in options if tile.vectors == wide]
    tile = Tile(
        knobs.choice("pixels", high, best.pixels if best.pixels in high else high[-1]), wide
    )
    tiles, groups = -(-rows // tile.pixels), -(-vectors // tile.vectors)
    pieces = [n for n in range(1, min(tiles, _MOST_CHUNKS) + 1) if tiles % n == 0 or n == tiles]
    fewest = 4 * depth * rows / (target.l2_bytes / 2 or 1 << 17)
    enough = [n for n in pieces if n >= fewest] or pieces[-1:]
    chunks = knobs.choice("chunks", pieces, fewest_even(enough, batch * groups, target))
    units = batch * groups * chunks
    parallel = share(units, OPERATORS[work.operator].macs(work), knobs, target)
    return RowsPlan(tile, groups, chunks, -(-tiles // chunks), units, parallel)
