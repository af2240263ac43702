"""The plan of a pointwise layer in seven products; see ``schedules/cpu/strassen``."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.threads import choose_pieces, divisors, share
from tvm_mobilenet.schedules.plans.tile import best_tile, choose_tile, chunk_options, inner_steps

from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.target import ITEM_BYTES, TargetSpec

_PAIR = 4
"""Elements for each input channel and pixel pair: 2 of input, 2 in four sums of half as many."""


@dataclass(frozen=True, slots=True)
class StrassenPlan:
    """Sizes and choices of a pointwise layer in seven products.

    Attributes
    ----------
    batch, pixels : int
        Images, and pixels of each.
    rows : int
        Pixel pairs: half of the pixels, rounded up.
    k_blocks, k_lanes : int
        Blocks of half of the input channels, and lanes of each.
    o_blocks, lanes : int
        Blocks of half of the output channels, and lanes of each.
    depth : int
        Half of the steps of the reduction.
    tile_pixels, vectors : int
        Accumulators.
    chunks, splits : int
        Pieces that the pixel pairs and the output channels are cut into.
    steps : int
        Steps of the reduction that LLVM sees at once.
    prefetch : bool
        Whether the next product's weights are prefetched.
    parallel : bool
        Whether threads share the units.
    """

    batch: int
    pixels: int
    rows: int
    k_blocks: int
    k_lanes: int
    depth: int
    o_blocks: int
    lanes: int
    tile_pixels: int
    vectors: int
    chunks: int
    splits: int
    steps: int
    prefetch: bool
    parallel: bool

    @property
    def chunk_rows(self) -> int:
        """Pixel pairs of a chunk."""
        return self.rows // self.chunks

    @property
    def units(self) -> int:
        """What threads can share: channel pieces of chunks of images."""
        return self.batch * self.chunks * self.splits

    @property
    def groups(self) -> int:
        """Vector groups of a unit."""
        return self.o_blocks // (self.vectors * self.splits)


def plan_strassen(work: Workload, knobs: Knobs, target: TargetSpec) -> StrassenPlan:
    """Plan a pointwise layer in seven products.

    Parameters
    ----------
    knobs : Knobs
        ``vectors`` and ``pixels``: accumulators; ``chunks``: pieces that the pixel
        pairs are cut into; ``splits``: pieces that output channels are cut into, each
        of which makes the chunk's sums for itself; ``prefetch``: none or weights;
        ``threads``: all or one.
    """
    batch, pixels, lanes = work.batch, work.out_pixels, work.out_block
    rows, o_blocks, depth = -(-pixels // 2), work.out_blocks // 2, work.depth // 2
    best = best_tile(rows, o_blocks, depth, target, batch)
    tile = choose_tile(knobs, best, rows, o_blocks, target)
    # The pixel that an odd map lacks is missing from the last tile, which is then apart.
    options = [1] if pixels % 2 else chunk_options(rows, tile)
    pair = _PAIR * ITEM_BYTES[work.dtype]
    most = pair * work.in_blocks * work.in_block * rows / (target.l2_bytes or 1 << 18)
    chunks = knobs.choice("chunks", options, next((i for i in options if i >= most), options[-1]))
    groups = o_blocks // tile.vectors
    splits = choose_pieces(knobs, "splits", divisors(groups), batch * chunks, target)
    prefetch = knobs.choice("prefetch", ["none", "weights"], "weights") == "weights"
    macs = 8 * batch * rows * depth * o_blocks * lanes
    parallel = share(batch * chunks * splits, macs, knobs, target)
    return StrassenPlan(
        batch, pixels, rows, work.in_blocks // 2, work.in_block, depth, o_blocks, lanes,
        tile.pixels, tile.vectors, chunks, splits, inner_steps(depth, lanes, target), prefetch,
        parallel,
    )  # fmt: skip
