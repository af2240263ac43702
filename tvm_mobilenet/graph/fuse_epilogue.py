"""Phase 2: each convolution takes its bias and activation along, as one composite function."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_mobilenet.graph.constants import is_constant

COMPOSITE = "Composite"
"""Attribute of the functions made here: the operator, such as ``"tvm_mobilenet.conv2d"``."""

PREFIX = "tvm_mobilenet."

_ANCHORS = {"relax.nn.conv2d": "conv2d", "relax.matmul": "dense", "relax.mean": "pool"}
_RELU6 = (0.0, 6.0)


def fuse_epilogue(mod: Any) -> Any:
    """Group every operator that has a schedule with what follows it element by element.

    before: ``conv2d``, ``add`` of a constant, ``clip`` to [0, 6] or ``relu``, a
    binding each, every intermediate read once
    after: one call of a private function that holds them and their constants, with
    ``Composite = "tvm_mobilenet.conv2d"`` (or ``.dense``, ``.pool``), bound to the
    name of the last one

    Parameters
    ----------
    mod : IRModule

    Returns
    -------
    IRModule
    """
    for gv, func in mod.functions.items():
        if isinstance(func, relax.Function):
            fuser = _Fuser(mod, _groups(func))
            fuser.builder_.update_func(gv, fuser.visit_expr(func))
            mod = fuser.builder_.get()
    return mod


def operator_name(call: Any) -> str:
    """Return the operator of a call, such as ``"relax.add"``; "" if it is none."""
    return str(getattr(getattr(call, "op", None), "name", ""))


def _groups(func: Any) -> list[list[Any]]:
    """List the groups of a function, each its bindings in order."""
    bindings = [b for block in func.body.blocks for b in block.bindings]
    reads: Counter[Any] = Counter()
    reader: dict[Any, Any] = {}
    for binding in bindings:
        value = binding.value
        sources = value.args if isinstance(value, relax.Call) else [value]
        for source in sources:
            if isinstance(source, relax.Var):
                reads[source] += 1
                reader[source] = binding
    groups = []
    for binding in bindings:
        if not _is_anchor(binding.value):
            continue
        group = [binding]
        while reads[group[-1].var] == 1 and _continues(group, reader[group[-1].var]):
            group.append(reader[group[-1].var])
        groups.append(group)
    return groups


def _is_anchor(value: Any) -> bool:
    name = operator_name(value)
    if name == "relax.mean":
        rank = len(value.args[0].ty.shape)
        return rank == 4 and sorted(int(a) % rank for a in value.attrs.axis) == [2, 3]
    return name in _ANCHORS and is_constant(value.args[1])


def _continues(group: list[Any], binding: Any) -> bool:
    """Whether a binding extends a group: a bias first, then one activation, then nothing."""
    done = [operator_name(b.value) for b in group]
    name = operator_name(binding.value)
    if done[0] == "relax.mean" or done[-1] in ("relax.clip", "relax.nn.relu"):
        return False
    if name == "relax.add":
        return done[-1] != "relax.add" and is_constant(binding.value.args[1])
    if name == "relax.clip":
        return tuple(float(bound.value) for bound in binding.value.args[1:]) == _RELU6
    return name == "relax.nn.relu"


@mutator
class _Fuser(PyExprMutator):  # type: ignore[misc]
    """Replaces the last binding of each group by a call, and drops the others."""

    def __init__(self, mod: Any, groups: list[list[Any]]) -> None:
        super().__init__(mod)
        self._last = {group[-1].var: group for group in groups}
        self._inside = {binding.var for group in groups for binding in group[:-1]}

    def visit_var_binding_(self, binding: Any) -> None:
        if binding.var in self._inside:
            return
        group = self._last.get(binding.var)
        if group is None:
            super().visit_var_binding_(binding)
            return
        name = binding.var.name
        function = self.builder_.add_func(_composite(group), f"fused_{name}")
        data = self.visit_expr(group[0].value.args[0])
        call = relax.Call(function, [data])
        if isinstance(binding.var, relax.DataflowVar):
            var = self.builder_.emit(call, name)
        else:
            var = self.builder_.emit_output(call, name)
        self.set_var_remap(binding.var, var)


def _composite(group: list[Any]) -> Any:
    """Build the private function of one group."""
    operator = _ANCHORS[operator_name(group[0].value)]
    builder = relax.BlockBuilder()
    data = relax.Var("data", group[0].value.args[0].ty)
    attrs = {COMPOSITE: PREFIX + operator, "Primitive": True}
    with builder.function("composite", [data], attrs=attrs, private=True):
        with builder.dataflow():
            value: Any = data
            for binding in group:
                call = binding.value
                value = builder.emit(relax.Call(call.op, [value, *call.args[1:]], call.attrs))
            output = builder.emit_output(value)
        builder.emit_func_output(output)
    return builder.get()["composite"]
