"""Puts prefetches into a scheduled function: ``tirx.prefetch`` becomes LLVM's ``llvm.prefetch``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
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
        first = _statements(sch, func, prefetch)
        func = func.with_body(changed(func.body, at, partial(_behind, first)))
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


def _behind(first: Sequence[Any], loop: Any) -> Any:
    """Return a loop whose body begins with some statements."""
    return rebuilt(loop, SeqStmt([*first, loop.body]), loop.extent)


def rebuilt(loop: Any, body: Any, extent: Any) -> Any:
    """Return a loop with another body, and another extent perhaps."""
    return For(
        loop.loop_var,
        loop.min,
        extent,
        loop.kind,
        body,
        loop.thread_binding,
        loop.annotations,
        loop.step,
    )


def changed(statement: Any, variable: Any, change: Callable[[Any], Any]) -> Any:
    """Rebuild the path to a loop; everything else is shared with the old function."""
    if isinstance(statement, SBlockRealize):
        block = statement.block
        inner = SBlock(
            block.iter_vars,
            block.reads,
            block.writes,
            block.name_hint,
            changed(block.body, variable, change),
            block.init,
            block.alloc_buffers,
            block.match_buffers,
            block.annotations,
        )
        return SBlockRealize(statement.iter_values, statement.predicate, inner)
    if isinstance(statement, SeqStmt):
        return SeqStmt([changed(part, variable, change) for part in statement.seq])
    if isinstance(statement, For):
        if statement.loop_var.same_as(variable):
            return change(statement)
        return rebuilt(statement, changed(statement.body, variable, change), statement.extent)
    return statement
