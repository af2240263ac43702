"""Software prefetch, for the streams that the hardware's prefetchers lose.

Hardware follows a few long streams. A pointwise layer reads one short stream for each
input channel block (seven lines, then a jump of a whole map), and a new weight
panel faster than it can come from memory. With cold caches 56 x 56 x 128 takes 619 µs
instead of 440, and 468 with its input prefetched one tile ahead; 7 x 7 x 1024
takes 523 instead of 440, and 458 with the next panel prefetched during the
present one's tiles (one Zen 5 core; 60 MB of other data between runs).

TensorIR's schedule has no primitive for prefetching: ``prefetch_insert`` puts the statements
into the scheduled function. This module says what to prefetch where. An address beyond the
buffer is harmless.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm_mobilenet.machine import Dtype
from tvm_mobilenet.machine.arithmetic import line_items
from tvm_mobilenet.operators.ahead import AHEAD


@dataclass(frozen=True, slots=True)
class Prefetch:
    """Addresses to prefetch whenever a loop's body begins.

    Attributes
    ----------
    loop : LoopRV
        A loop of the schedule; with TE a stage and one of its axes.
    parameter : int
        Index of the function's buffer that is prefetched.
    indices : callable
        From the function's loop variables (of `variables`, in their order) to the
        index tuples of the elements, one a cache line.
    variables : sequence of LoopRV
        Loops whose variables the indices are made of.
    repeat : int
        Unless 0, the extent of a loop over the prefetches; its variable is the
        last argument of `indices`.
    near : bool
        Whether the data are used soon enough for L1; otherwise they go to L2.
    """

    loop: Any
    parameter: int
    indices: Callable[..., Sequence[tuple[Any, ...]]]
    variables: Sequence[Any]
    repeat: int = 0
    near: bool = True


def next_panel(
    at: Any,
    loops: Sequence[Any],
    *,
    parameter: int,
    depth: int,
    lanes: int,
    dtype: Dtype,
    vectors: int,
    steps: tuple[int, int],
    groups: tuple[int, int],
) -> Prefetch:
    """Prefetch the weights of the next vector group during the present one's tiles.

    Parameters
    ----------
    loops : sequence of LoopRV
        Units, vector groups of a unit, pixel tiles, and outer steps of the reduction; `at`
        is the last of them.
    parameter : int
        Index of the weights: (blocks, depth, lanes).
    dtype : Dtype
        What they are stored as.
    vectors : int
        Blocks in a group.
    steps : tuple of int
        Tiles, and outer reduction steps of each: the panel's lines are spread over them.
    groups : tuple of int
        Units that share the channels between them, and groups in each; a unit's
        last group is followed by its first.
    """
    parts, own = groups
    tiles, outer_steps = steps
    items = line_items(dtype)
    lines = -(-vectors * depth * lanes // (items * tiles * outer_steps))
    rows = max(items // lanes, 1)

    def indices(unit: Any, at: Any, tile: Any, step: Any) -> list[tuple[Any, ...]]:
        # A group's blocks follow each other in memory: one address, constant offsets.
        block = (unit % parts * own + (at + 1) % own) * vectors
        first = (tile * outer_steps + step) * lines
        return [(block, (first + i) * rows, 0) for i in range(lines)]

    return Prefetch(at, parameter, indices, loops)


def for_others(sch: Any, loops: Sequence[Any], extents: Sequence[int]) -> list[Prefetch]:
    """Prefetch what later kernels will wait for, evenly through a kernel.

    Parameters
    ----------
    sch : s_tir.Schedule
        Over a function that says what (``AHEAD``), if anything.
    loops : sequence of LoopRV
        From the units to the outer steps of the reduction, nested.
    extents : sequence of int
        Their extents; where a loop's extent varies, the longest.
    """
    func = sch.mod["main"]
    numbers = [int(number) for number in (func.attrs or {}).get(AHEAD, ())]
    pieces = [tuple(numbers[i : i + 4]) for i in range(0, len(numbers), 4)]
    begin = len(func.params) - 1 - len(pieces)
    return [
        for_other(begin + i, piece, loops[-1], loops, extents, func.params[begin + i].ty)
        for i, piece in enumerate(pieces)
    ]


def for_other(  # noqa: PLR0917  what, and where it is said
    parameter: int,
    piece: tuple[int, ...],
    at: Any,
    loops: Sequence[Any],
    extents: Sequence[int],
    weights: Any,
) -> Prefetch:
    """Prefetch the weights of one later kernel, evenly through a kernel.

    Parameters
    ----------
    parameter : int
        Index of those weights, which have as many `dimensions`.
    piece : tuple of int
        The number of parts, the distance between them in cache lines, the first line of a
        part, and how many: as :data:`AHEAD` lists them.
    loops, extents : sequence
        As :func:`for_others` takes them; `at` is the last loop.
    weights : tensor or its type
        With a ``shape`` and a ``dtype``.
    """
    parts, apart, first, lines = piece
    each = -(-lines * parts // math.prod(extents))
    items, dimensions = line_items(str(weights.dtype)), len(weights.shape)

    def indices(*at: Any) -> list[tuple[Any, ...]]:
        place: Any = 0
        for variable, extent in zip(at, extents, strict=True):
            place = place * extent + variable
        # The parts in turns; the lines of a step follow each other: one address, constant offsets.
        line = place % parts * apart + first + place // parts * each
        return [(*(0,) * (dimensions - 1), (line + i) * items) for i in range(each)]

    return Prefetch(at, parameter, indices, loops, near=False)
