"""The expressions of a definition's stages, rebuilt for the indices that a kernel computes.

A schedule whose loops are written rather than transformed takes everything but the loops from
the definition: epilogues, borders, conversions. They are thus defined once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir

Value = Callable[..., Any]
"""From indices to the expression of an element."""


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
