"""Software prefetch in TE: puts what ``tensorir/cpu/prefetch`` says into loops.

TE's own ``Stage.prefetch`` fetches at once all that a loop's next iteration reads, which
fills the miss buffers. Since a pragma may hold any expression over the loops' variables and the
tensors, it holds here the call that prefetches an address. :func:`lower_prefetches` makes
a statement of it before TVM flattens the buffers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tir
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch, for_other

_READ, _KEEP, _LATER, _DATA = 0, 3, 2, 1
_PRAGMA = "tvm_mobilenet_prefetch"


def place(prefetches: Sequence[Prefetch], inputs: Sequence[Any]) -> None:
    """Put prefetches into a schedule.

    Parameters
    ----------
    prefetches : sequence of Prefetch
        The `loop` of each is a stage and one of its axes, inside all of `variables`. The
        prefetch comes before that axis.
    inputs : sequence of te.Tensor
        Tensors that `parameter` is an index of.
    """
    for prefetch in prefetches:
        stage, axis = prefetch.loop
        tensor = inputs[prefetch.parameter]
        for index in prefetch.indices(*(variable.var for variable in prefetch.variables)):
            stage.pragma(axis, _PRAGMA, _touch(tensor[index], near=prefetch.near))


def for_others(
    work: Definition, at: tuple[Any, Any], loops: Sequence[Any], sizes: Sequence[int]
) -> list[Prefetch]:
    """Prefetch what later kernels will wait for, evenly through a kernel.

    Parameters
    ----------
    work : Definition
        Its `ahead` and `pieces` say what, if anything.
    at : (te.Stage, IterVar)
        As :func:`place` takes it, inside all of `loops`.
    loops : sequence of IterVar
        From the units to the outer steps of the reduction, nested.
    sizes : sequence of int
        Their extents; where a loop's extent varies, the longest.
    """
    begin = len(work.tensors) - 1
    return [
        for_other(begin + i, piece, at, loops, sizes, weights)
        for i, (piece, weights) in enumerate(zip(work.pieces, work.ahead, strict=True))
    ]


def _touch(element: Any, *, near: bool) -> Any:
    address = tir.call_intrin("handle", "tir.address_of", element)
    level = _KEEP if near else _LATER
    return tir.call_intrin("void", "tir.prefetch", address, _READ, level, _DATA)


def _to_statements(func: Any, _mod: Any, _context: Any) -> Any:

    def statement(node: Any) -> Any:
        if node.attr_key != f"pragma_{_PRAGMA}":
            return None
        return tir.SeqStmt([tir.Evaluate(node.value), node.body])

    body = tir.stmt_functor.ir_transform(func.body, None, statement, ["tir.AttrStmt"])
    return func.with_body(body)


lower_prefetches = tir.transform.prim_func_pass(
    _to_statements, opt_level=0, name="tvm_mobilenet.lower_prefetches"
)
"""Makes a statement of every prefetch that :func:`place` put into a pragma. It runs in phase 0
of lowering, where buffers still have their shapes."""
