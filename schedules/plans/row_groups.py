"""Row groups of a separable block: how many rows share a buffer, and what threads share."""

from __future__ import annotations

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.threads import (
    BALANCED,
    choose_pieces,
    divisors,
    fewest_even,
    imbalance,
)
from tvm_mobilenet.schedules.plans.tile import Tile, best_tile, fits

from tvm_mobilenet.machine import TargetSpec

_FIRST_SLOWER = 1.5
"""A depthwise multiply-add over a pointwise one, in time (165 against 235 GFLOP/s)."""

_PANEL = 1.2
"""Multiply-adds that reading a weight again takes the time of: 4 bytes at 100 GB/s, of which
prefetching hides two thirds."""

_FEW_ROWS = 7
"""Rows of a map that is not cut by rows: its weights are most of what it reads."""


def row_group_tile(
    shape: tuple[int, int, int], blocks: int, depth: int, target: TargetSpec, *, staged: bool
) -> Tile:
    """Choose a register tile that fills row groups smaller than the map, where there is one.

    Otherwise threads could share only channels, and each of them would compute the whole
    depthwise layer.

    Parameters
    ----------
    shape : tuple of int
        Images, and (height, width) of the output.
    blocks, depth : int
        Output channel vectors, and steps of the reduction.
    staged : bool
        Whether its input is.
    """
    batch, height, width = shape

    def fills(tile: Tile, target: TargetSpec) -> bool:
        return fits(tile, target) and len(whole_rows(height, width, tile.pixels)) > 1

    fit = fits if height <= _FEW_ROWS else fills
    return best_tile(height * width, blocks, depth, target, batch, fit=fit, staged=staged)


def choose_rows(  # noqa: PLR0917  sizes of a block, from outer to inner
    knobs: Knobs,
    target: TargetSpec,
    shape: tuple[int, int, int],
    row_bytes: int,
    tile_pixels: int,
    groups: int,
    first_share: float,
) -> tuple[int, int]:
    """Ask for the rows of a separable block's group, and the pieces of its output channels.

    Groups hold at most half of L2. Of those, the one with the least to do on the slowest
    thread: each piece of the channels computes the depthwise layer of its rows anew, and
    each group reads all weights anew.

    Parameters
    ----------
    shape : tuple of int
        Images, and (height, width) of the output.
    row_bytes : int
        Bytes of a row between the two layers, and of the input that it takes.
    tile_pixels : int
        Pixels of the pointwise layer's tile.
    groups : int
        Vector groups of the output channels.
    first_share : float
        The depthwise layer's multiply-adds over the pointwise layer's.

    Returns
    -------
    tuple of int
        Rows, pieces.
    """
    batch, height, width = shape
    pieces = divisors(groups)
    options = whole_rows(height, width, tile_pixels) or [height]

    def work(rows: int) -> float:
        chunks = height // rows
        splits = fewest_even(pieces, batch * chunks, target)
        again = _FIRST_SLOWER * first_share * splits
        panels = _PANEL * chunks / (height * width)
        return max(imbalance(batch * chunks * splits, target.cores), BALANCED) * (
            1 + again + panels
        )

    fits = [r for r in options if row_bytes * r <= target.l2_bytes / 2] or options[:1]
    rows = knobs.choice("rows", options, min(fits, key=lambda r: (round(work(r), 3), -r)))
    return rows, choose_pieces(knobs, "splits", pieces, batch * height // rows, target)


def whole_rows(height: int, width: int, tile_pixels: int) -> list[int]:
    """List the row groups that a map divides into, and that tiles of pixels fill.

    A tile that reaches beyond its row group would need rows of the next one.
    """
    return [r for r in divisors(height) if r * width % tile_pixels == 0]
