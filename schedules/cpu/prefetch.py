"""Software prefetch, for the streams that the hardware's prefetchers lose.

Hardware follows a few long streams. A pointwise layer reads one short stream per
input channel block (seven lines, then a jump of a whole map), and a new weight
panel faster than it can come from memory: cold, 56 x 56 x 128 takes 619 µs
instead of 440, and 468 with its input prefetched one tile ahead; 7 x 7 x 1024
takes 523 instead of 440, and 458 with the next panel prefetched during the
present one's tiles (one Zen 5 core; 60 MB of other data between runs).

TensorIR's schedule has no primitive for it, so the statements are put into the
scheduled function, at the start of a loop's body. ``tirx.prefetch`` becomes LLVM's
``llvm.prefetch``; an address beyond the buffer is harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.s_tir.stmt import SBlock, SBlockRealize
from tvm.tirx import For, ForKind, SeqStmt

_READ, _KEEP, _DATA = 0, 3, 1

LINE = 16
"""float32 elements in a cache line of 64 bytes."""


@dataclass(frozen=True, slots=True)
class Prefetch:
    """Addresses to prefetch whenever a loop's body begins.

    Attributes
    ----------
    loop : LoopRV
        Of the schedule.
    parameter : int
        Index of the function's buffer that is prefetched.
    indices : callable
        From the function's loop variables (of `variables`, in their order) to the
        index tuples of the elements, one a cache line.
    variables : sequence of LoopRV
        Loops whose variables the indices are made of.
    repeat : int
        Unless 0, a loop of this extent around the prefetches; its variable is the
        last argument of `indices`.
    """

    loop: Any
    parameter: int
    indices: Callable[..., Sequence[tuple[Any, ...]]]
    variables: Sequence[Any]
    repeat: int = 0


def next_panel(
    loops: Sequence[Any],
    *,
    parameter: int,
    depth: int,
    lanes: int,
    vectors: int,
    steps: tuple[int, int],
    groups: tuple[int, int],
) -> Prefetch:
    """Prefetch the weights of the next vector group during the present one's tiles.

    Parameters
    ----------
    loops : sequence of LoopRV
        Units, vector groups of a unit, pixel tiles, and outer steps of the reduction.
    parameter : int
        Index of the weights: (blocks, depth, lanes), float32.
    depth, lanes : int
    vectors : int
        Blocks in a group.
    steps : tuple of int
        Tiles, and outer reduction steps of each: the panel's lines are spread over them.
    groups : tuple of int
        Units that share the channels between them, and groups in each; a unit's
        last group is followed by its first.

    Returns
    -------
    Prefetch
        At the start of an outer step.
    """
    parts, own = groups
    tiles, outer_steps = steps
    lines = -(-vectors * depth * lanes // (LINE * tiles * outer_steps))
    rows = max(LINE // lanes, 1)

    def indices(unit: Any, at: Any, tile: Any, step: Any) -> list[tuple[Any, ...]]:
        # A group's blocks follow each other in memory: one address, constant offsets.
        block = (unit % parts * own + (at + 1) % own) * vectors
        first = (tile * outer_steps + step) * lines
        return [(block, (first + i) * rows, 0) for i in range(lines)]

    return Prefetch(loops[-1], parameter, indices, loops)


def with_prefetches(sch: Any, func: Any, prefetches: Sequence[Prefetch]) -> Any:
    """Put prefetches into a scheduled function.

    before: ``for i: body``
    after: ``for i: prefetch(address); ...; body``

    Parameters
    ----------
    sch : s_tir.Schedule
        That made the function.
    func : tirx.PrimFunc
    prefetches : sequence of Prefetch

    Returns
    -------
    tirx.PrimFunc
    """
    for prefetch in prefetches:
        at = sch.get(prefetch.loop).loop_var
        func = func.with_body(_insert(func.body, at, _statements(sch, func, prefetch)))
    return func


def _statements(sch: Any, func: Any, prefetch: Prefetch) -> list[Any]:
    buffer = func.params[prefetch.parameter]
    variables = [sch.get(loop).loop_var for loop in prefetch.variables]
    if prefetch.repeat == 0:
        return [_statement(buffer, index) for index in prefetch.indices(*variables)]
    line = tirx.Var("line", "int32")
    body = [_statement(buffer, index) for index in prefetch.indices(*variables, line)]
    together = body[0] if len(body) == 1 else SeqStmt(body)
    return [For(line, 0, prefetch.repeat, ForKind.SERIAL, together)]


def touch(buffer: Any, index: tuple[Any, ...]) -> Any:
    """Return the call that prefetches the line of one element."""
    address = tirx.address_of(buffer[index])
    return tirx.call_intrin("void", "tirx.prefetch", address, _READ, _KEEP, _DATA)


def _statement(buffer: Any, index: tuple[Any, ...]) -> Any:
    return tirx.Evaluate(touch(buffer, index))


def _insert(statement: Any, variable: Any, first: Sequence[Any]) -> Any:
    """Rebuild the path to a loop; everything else is shared with the old function."""
    if isinstance(statement, SBlockRealize):
        block = statement.block
        inner = SBlock(
            block.iter_vars,
            block.reads,
            block.writes,
            block.name_hint,
            _insert(block.body, variable, first),
            block.init,
            block.alloc_buffers,
            block.match_buffers,
            block.annotations,
        )
        return SBlockRealize(statement.iter_values, statement.predicate, inner)
    if isinstance(statement, SeqStmt):
        return SeqStmt([_insert(part, variable, first) for part in statement.seq])
    if isinstance(statement, For):
        if statement.loop_var.same_as(variable):
            body = SeqStmt([*first, statement.body])
        else:
            body = _insert(statement.body, variable, first)
        return For(
            statement.loop_var,
            statement.min,
            statement.extent,
            statement.kind,
            body,
            statement.thread_binding,
            statement.annotations,
            statement.step,
        )
    return statement
