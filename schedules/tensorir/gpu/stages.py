"""The expressions of a definition's stages, rebuilt for the indices that a kernel computes.

A schedule whose loops are written rather than transformed takes everything but the loops from
the definition: epilogues, borders, conversions. They are thus defined once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as ir

from tvm_mobilenet.machine import ITEM_BYTES, GpuSpec
from tvm_mobilenet.machine.gpu import LANE_BYTES

Value = Callable[..., Any]
"""From indices to the expression of an element."""

REGISTERS = "tvm_mobilenet.registers"
"""Function attribute: the registers of a thread, as the plan counts them."""

_ELEMENTS = ContextVar("_ELEMENTS", default=LANE_BYTES // ITEM_BYTES["float16"])
"""Most elements of a vector, while loops are written: Metal's vectors have four."""


class Stages:
    """The stages of an unscheduled function, by name."""

    def __init__(self, func: Any) -> None:
        self.func = func
        self.inputs = {str(p.name): _shape(p) for p in func.params}
        self.dtypes = {str(p.name): str(p.ty.dtype) for p in func.params}
        body = func.body.block.body
        self._blocks = {}
        for nest in body if hasattr(body, "seq") else [body]:
            while hasattr(nest, "loop_var"):
                nest = nest.body  # noqa: PLW2901  down to the block
            self._blocks[str(nest.block.name_hint)] = nest.block

    def extents(self, stage: str) -> tuple[int, ...]:
        """Return the extents of a stage's loops, those of a reduction last."""
        return tuple(int(axis.dom.extent) for axis in self._blocks[stage].iter_vars)

    def value(self, stage: str, at: Sequence[Any], feed: Mapping[str, Value]) -> Any:
        """Return the expression of one element of a stage.

        Parameters
        ----------
        stage : str
            Name of the stage. Of a reduction this is one step, from its value before it.
        at : sequence of PrimExpr
            Indices of the element, those of a reduction last.
        feed : mapping of str to callable
            By the name of each buffer that the stage reads, from indices to an expression.
        """
        block = self._blocks[stage]
        places = {iv.var: index for iv, index in zip(block.iter_vars, at, strict=True)}
        return _rebuilt(block.body.value, places, feed)


def _called(node: Any, arguments: Sequence[Any]) -> Any:
    rule = _CALLS.get(str(node.op.name).rpartition(".")[2])
    if rule is None:
        raise NotImplementedError(f"a stage calls {node.op}")
    return rule(str(node.ty.dtype), *arguments)


_CALLS: dict[str, Callable[..., Any]] = {
    "if_then_else": lambda _, *parts: ir.if_then_else(*parts),
    "reinterpret": tirx.reinterpret,
    "shift_left": lambda _, *parts: tirx.shift_left(*parts),
}
"""Intrinsics that definitions call, by their names: of a type and the arguments."""


def _shape(param: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in param.ty.shape)


def _rebuilt(  # noqa: PLR0911  one for each kind of expression
    node: Any, places: Mapping[Any, Any], feed: Mapping[str, Value]
) -> Any:
    def again(part: Any) -> Any:
        return _rebuilt(part, places, feed)

    if hasattr(node, "indices"):
        return feed[str(node.source.name)](*(again(index) for index in node.indices))
    if isinstance(node, tirx.Cast):
        return again(node.value).astype(str(node.ty.dtype))
    if hasattr(node, "a"):
        return type(node)(again(node.a), again(node.b))
    if isinstance(node, tirx.Select):
        parts = (node.condition, node.true_value, node.false_value)
        return tirx.Select(*(again(part) for part in parts))
    if isinstance(node, tirx.Let):
        # Each time another variable: none may be defined twice in a function.
        own = tirx.Var(str(node.var.name), str(node.var.ty.dtype))
        body = _rebuilt(node.body, {**places, node.var: own}, feed)
        return tirx.Let(own, again(node.value), body)
    if hasattr(node, "args"):
        return _called(node, [again(part) for part in node.args])
    return places.get(node, node) if hasattr(node, "name") else node


def allocated(name: str, shape: Sequence[int], dtype: str, scope: str) -> Any:
    """Allocate a buffer in the block that is open; the generated source has its name."""
    return IRBuilder.name(name, ir.sblock_alloc_buffer(tuple(shape), dtype, scope=scope))


def copy(into: Any, at: Sequence[Any], lanes: int, value: Callable[[Any], Any]) -> None:
    """Write ``into[*at, v] = value(v)`` for all lanes v, in vectors of at most 16 bytes."""
    item = ITEM_BYTES[str(into.dtype)]
    width = min(lanes, LANE_BYTES // item, _ELEMENTS.get())
    for first in range(0, lanes, width):
        with ir.vectorized(0, width) as v:
            ir.buffer_store(into, value(first + v), [*at, first + v])


def fetched(source: Any, place: Sequence[Any], lanes: int) -> Value:
    """Load the vector at all indices but the last into registers; return its elements by lane."""
    local = allocated(f"{source.name}_local", (lanes,), str(source.dtype), "local")
    copy(local, (), lanes, lambda c: source[(*place, c)])
    return lambda *at: local[at[-1]]


def leave(  # noqa: PLR0917  a stage, where it goes, what it is fed
    stages: Stages, stage: str, into: Any, at: Sequence[Any], lanes: int, feed: Mapping[str, Value]
) -> None:
    """Compute a stage for all lanes, one by one, and write them as vectors: ``into[*at, c]``."""
    result = allocated("result", (lanes,), str(into.dtype), "local")
    with ir.unroll(0, lanes) as c:
        ir.buffer_store(result, stages.value(stage, (*at, c), feed), [c])
    copy(into, at, lanes, lambda c: result[c])


def written(stages: Stages, gpu: GpuSpec, body: Callable[[dict[str, Any]], None]) -> Any:
    """Return a function with the same parameters and attributes, whose loops `body` writes."""
    token = _ELEMENTS.set(4 if gpu.kind == "metal" else LANE_BYTES // ITEM_BYTES["float16"])
    with IRBuilder() as builder, ir.prim_func(s_tir=True):
        ir.func_name("main")
        buffers = {
            name: ir.arg(name, ir.Buffer(shape, stages.dtypes[name]))
            for name, shape in stages.inputs.items()
        }
        body(buffers)
    _ELEMENTS.reset(token)
    made = builder.get().with_attr("tirx.noalias", True)
    for name, value in stages.func.attrs.items():
        made = made.with_attr(name, value)
    return made
