"""The knobs of a matrix product's tile, and the rule's answers."""

from __future__ import annotations

from dataclasses import replace

from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans.gpu.product_cycles import best_tile
from tvm_mobilenet.schedules.plans.gpu.product_tile import (
    DEPTHS,
    ROW_THREADS,
    ROWS,
    SLICES,
    VECTOR_THREADS,
    VECTORS,
    ProductTile,
    Sizes,
)

from tvm_mobilenet.machine import GpuSpec


def choose_tile(
    knobs: Knobs, sizes: Sizes, gpu: GpuSpec, most_vectors: int | None = None
) -> ProductTile:
    """Ask for a tile.

    Parameters
    ----------
    knobs : Knobs
        ``row_threads``, ``rows`` (of a thread), ``vector_threads``, ``vectors`` (of a
        thread), ``slices``, ``staging``, ``depth`` and ``prefetch``: see
        :class:`ProductTile`.
    most_vectors : int, optional
        Output vectors that a block of threads may have, where that is limited.

    Returns
    -------
    ProductTile
        One that fits.
    """
    best = best_tile(sizes, gpu)
    most = most_vectors or max(VECTOR_THREADS) * max(VECTORS)
    tile = ProductTile(1, 1, 1, 1, staged=False)

    def ask(knob: str, field: str, options: tuple[int, ...], **also: bool) -> None:
        nonlocal tile

        def with_(value: int) -> ProductTile:
            changed = {field: value, **also}
            if field == "slices":
                changed["depth"] = value
            return replace(tile, **changed)  # type: ignore[arg-type]

        allowed = [o for o in options if with_(o).fits(sizes, gpu) and with_(o).vectors <= most]
        default = getattr(best, field)
        tile = with_(knobs.choice(knob, allowed, default if default in allowed else allowed[-1]))

    ask("row_threads", "row_threads", ROW_THREADS)
    ask("rows", "row_each", ROWS)
    ask("vector_threads", "vector_threads", VECTOR_THREADS)
    ask("vectors", "vector_each", VECTORS)
    ask("slices", "slices", SLICES)
    staging = ["none"]
    if replace(tile, staged=True).fits(sizes, gpu):
        # What must be computed first is not computed for every vector anew.
        staging = ["shared"] if sizes.taps else ["none", "shared"]
    staged = (
        knobs.choice("staging", staging, staging[-1] if best.staged else staging[0]) == "shared"
    )
    tile = replace(tile, staged=staged)
    multiples = tuple(d for d in DEPTHS if d % tile.slices == 0)
    ask("depth", "depth", multiples)
    if staged:
        ways = ["none"]
        if replace(tile, prefetch=True).fits(sizes, gpu):
            ways.append("registers")
        way = knobs.choice("prefetch", ways, ways[best.prefetch and len(ways) > 1])
        tile = replace(tile, prefetch=way == "registers")
    return tile
