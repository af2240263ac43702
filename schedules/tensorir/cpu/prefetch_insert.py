"""Puts prefetches into a scheduled function: ``tirx.prefetch`` becomes LLVM's ``llvm.prefetch``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx
from tvm.s_tir.stmt import SBlock, SBlockRealize
from tvm.tirx import For, ForKind, SeqStmt
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch

_READ, _KEEP, _LATER, _DATA = 0, 3, 2, 1


def with_prefetches(sch: Any, func: Any, prefetches: Sequence[Prefetch]) -> Any:
    """Put prefetches into a scheduled function.

    before: ``for i: body``
    after: ``for i: prefetch(address); ...; body``

    `sch` is the schedule that made the function, and knows the loops.
    """
    for prefetch in prefetches:
        at = sch.get(prefetch.loop).loop_var
        func = func.with_body(_insert(func.body, at, _statements(sch, func, prefetch)))
    return func


def _statements(sch: Any, func: Any, prefetch: Prefetch) -> list[Any]:
    buffer = func.params[prefetch.parameter]
    variables = [sch.get(loop).loop_var for loop in prefetch.variables]
    if prefetch.repeat == 0:
        indices = prefetch.indices(*variables)
        return [tirx.Evaluate(_touch(buffer, index, near=prefetch.near)) for index in indices]
    line = tirx.Var("line", "int32")
    indices = prefetch.indices(*variables, line)
    body = [tirx.Evaluate(_touch(buffer, index, near=prefetch.near)) for index in indices]
    together = body[0] if len(body) == 1 else SeqStmt(body)
    return [For(line, 0, prefetch.repeat, ForKind.SERIAL, together)]


def _touch(buffer: Any, index: tuple[Any, ...], *, near: bool = True) -> Any:
    """Return the call that prefetches the line of one element, to L1 or (not `near`) L2."""
    address = tirx.address_of(buffer[index])
    level = _KEEP if near else _LATER
    return tirx.call_intrin("void", "tirx.prefetch", address, _READ, level, _DATA)


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
