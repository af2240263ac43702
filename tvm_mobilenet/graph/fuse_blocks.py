"""Phase 3: convolutions that share a kernel where that moves fewer bytes become one composite."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tvm import relax
from tvm.ir import GlobalVar
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_mobilenet.graph.composite import Composite
from tvm_mobilenet.graph.epilogue import read_epilogue
from tvm_mobilenet.graph.fuse_epilogue import COMPOSITE, PREFIX, inlined, is_pointwise, readers
from tvm_mobilenet.graph.layouts import shape_of
from tvm_mobilenet.operators.footprint import map_bytes, weight_bytes
from tvm_mobilenet.operators.workload import Operator, Workload
from tvm_mobilenet.prediction.around import Around
from tvm_mobilenet.prediction.fusion import Choice, Fusion, FusionFor, settle
from tvm_mobilenet.target import TargetSpec

_PATTERNS: tuple[tuple[Operator, tuple[str, ...]], ...] = (
    ("tail", ("pointwise", "pool", "dense")),
    ("separable", ("depthwise", "pointwise")),
    ("separable", ("depthwise", "residual")),
)
"""Operator of the kernel, and the layers that it computes; "residual" is a pointwise layer
that adds another map."""


def fuse_blocks(
    mod: Any,
    target: TargetSpec,
    fusion: Fusion,
    fusion_for: FusionFor = lambda _: None,
) -> tuple[Any, dict[str, Choice]]:
    """Join composite functions that one kernel can compute, where that is chosen.

    before: ``y = fused_dw(x)``, ``z = fused_pw(y)``, y read once
    after: ``z = fused_separable(x)`` with the operators of both and ``Composite =
    "tvm_mobilenet.separable"``; likewise a pointwise layer, the global pool and the
    classifier behind it, ``"tvm_mobilenet.tail"``

    Parameters
    ----------
    mod : IRModule
    target : TargetSpec
        Its caches and cores decide.
    fusion : {"auto", "all", "none"}
        By what was measured, else as :mod:`tvm_mobilenet.prediction.fusion` predicts; wherever
        it is possible; or nowhere.
    fusion_for : callable
        Where measured answers come from.

    Returns
    -------
    IRModule
    dict of str to Choice
        What was decided, by the name of the last variable of each candidate.
    """
    choices: dict[str, Choice] = {}
    for gv, func in mod.functions.items():
        if isinstance(func, relax.Function) and COMPOSITE not in (func.attrs or {}):
            groups: list[tuple[Operator, list[_Node]]] = []
            taken: set[Any] = set()
            nodes = _nodes(mod, func)
            network = _Network.read(func, nodes, target)
            for operator, group in _candidates(func, nodes):
                if operator == "tail" and target.gpu is not None:
                    continue  # its pool waits for every block of the map
                members = {node.var for node in group}
                if members & taken:
                    continue
                parts = [network.works[node.var] for node in group]
                around = network.around(group)
                choice = settle(operator, parts, target, around, fusion, fusion_for)
                choices[str(group[-1].var.name)] = choice
                if choice.fused:
                    groups.append((operator, group))
                    taken |= members
            joiner = _Joiner(mod, groups)
            joiner.builder_.update_func(gv, joiner.visit_expr(func))
            mod = joiner.builder_.get()
    return relax.transform.DeadCodeElimination()(mod), choices


@dataclass(frozen=True, slots=True)
class _Node:
    """A binding that calls a composite function, and what that computes."""

    binding: Any
    composite: Any
    kind: str

    @property
    def var(self) -> Any:
        return self.binding.var


def _composite_of(mod: Any, value: Any) -> Any:
    """Return the composite function that a value calls, or None."""
    if not (isinstance(value, relax.Call) and isinstance(value.op, GlobalVar)):
        return None
    func = mod[value.op]
    return func if COMPOSITE in (getattr(func, "attrs", None) or {}) else None


def _calls(func: Any) -> list[Any]:
    values = [binding.value for block in func.body.blocks for binding in block.bindings]
    return [value for value in values if isinstance(value, relax.Call)]


def _kind(func: Any) -> str:
    """Return "depthwise", "pointwise", "residual", "pool", "dense"; "" for what joins nothing."""
    name = str(func.attrs[COMPOSITE]).removeprefix(PREFIX)
    calls = _calls(func)
    if name in ("pool", "dense"):
        return name if read_epilogue(calls).activation == "none" else ""
    if name != "conv2d":
        return ""
    if not is_pointwise(calls[0]):
        return "depthwise" if int(calls[0].attrs.groups) > 1 else ""
    if not read_epilogue(calls).residual:
        return "pointwise"
    return "residual" if len(func.params) > 1 else ""  # else it adds its own input


def _nodes(mod: Any, func: Any) -> dict[Any, _Node]:
    """Return the calls of composite functions, by the variable that they bind."""
    nodes = {}
    for binding in (b for block in func.body.blocks for b in block.bindings):
        composite = _composite_of(mod, binding.value)
        if composite is not None:
            nodes[binding.var] = _Node(binding, composite, _kind(composite))
    return nodes


@dataclass(frozen=True, slots=True)
class _Network:
    """What the cost model knows of the function around a candidate.

    Before fusion, in the order of execution: every kernel, and where its output stands
    among the maps, the first of which is the image.
    """

    works: dict[Any, Workload]
    places: dict[Any, int]
    image: int

    @classmethod
    def read(cls, func: Any, nodes: dict[Any, _Node], target: TargetSpec) -> _Network:
        works = {
            var: Composite.read(node.composite).workload(
                shape_of(node.binding.value.args[0]), shape_of(var), target
            )
            for var, node in nodes.items()
        }
        image = 4 * math.prod(shape_of(func.params[0]))
        return cls(works, {var: i for i, var in enumerate(nodes, 1)}, image)

    def around(self, group: list[_Node]) -> Around:
        first = group[0]
        at = self.places.get(first.binding.value.args[0], self.places[first.var] - 1)
        works = self.works.values()
        values = (self.image, *map(map_bytes, works))
        return Around(sum(map(weight_bytes, works)), values, at)


def _candidates(func: Any, nodes: dict[Any, _Node]) -> list[tuple[Operator, list[_Node]]]:
    """List what could be joined, tails first."""
    reads, reader = readers(func)

    def chain(node: _Node, kinds: tuple[str, ...]) -> list[_Node]:
        found = [node]
        for kind in kinds[1:]:
            var = found[-1].var
            # Without a reader the function returns it.
            following = reader.get(var) if reads[var] == 1 else None
            follower = nodes.get(following.var) if following is not None else None
            if follower is None or follower.kind != kind:
                return []
            if not follower.binding.value.args[0].same_as(var):
                return []  # it is what the follower adds
            found.append(follower)
        return found if node.kind == kinds[0] else []

    groups = []
    for operator, kinds in _PATTERNS:
        for node in nodes.values():
            if group := chain(node, kinds):
                groups.append((operator, group))
    return groups


@mutator
class _Joiner(PyExprMutator):  # type: ignore[misc]
    """Replaces the last binding of each group by a call of all of it, and drops the others."""

    def __init__(self, mod: Any, groups: list[tuple[Operator, list[_Node]]]) -> None:
        super().__init__(mod)
        self._last = {group[-1].var: (operator, group) for operator, group in groups}
        self._inside = {node.var for _, group in groups for node in group[:-1]}

    def visit_var_binding_(self, binding: Any) -> None:
        if binding.var in self._inside:
            return
        if binding.var not in self._last:
            super().visit_var_binding_(binding)
            return
        operator, group = self._last[binding.var]
        name = binding.var.name
        function = self.builder_.add_func(_joined(operator, group), f"fused_{operator}_{name}")
        others = [arg for node in group for arg in node.binding.value.args[1:]]
        taken = [group[0].binding.value.args[0], *others]
        call = relax.Call(function, [self.visit_expr(value) for value in taken])
        if isinstance(binding.var, relax.DataflowVar):
            var = self.builder_.emit(call, name)
        else:
            var = self.builder_.emit_output(call, name)
        self.set_var_remap(binding.var, var)


def _joined(operator: str, group: list[_Node]) -> Any:
    """Build the private function that computes a group, one layer after the other."""
    builder = relax.BlockBuilder()
    data = relax.Var("data", group[0].composite.params[0].ty)
    others = [
        [relax.Var(str(param.name), param.ty) for param in node.composite.params[1:]]
        for node in group
    ]
    params = [data, *(other for some in others for other in some)]
    attrs = {COMPOSITE: PREFIX + operator, "Primitive": True}
    with builder.function("composite", params, attrs=attrs, private=True):
        with builder.dataflow():
            value: Any = data
            for node, some in zip(group, others, strict=True):
                inside = dict(zip(node.composite.params, [value, *some], strict=True))
                for binding in (b for block in node.composite.body.blocks for b in block.bindings):
                    value = binding.value
                    if isinstance(value, relax.Call):
                        value = builder.emit(inlined(value, inside))
                    else:
                        value = inside[value]
                    inside[binding.var] = value
            output = builder.emit_output(value)
        builder.emit_func_output(output)
    return builder.get()["composite"]
