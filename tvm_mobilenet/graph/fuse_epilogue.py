"""Phase 2: each convolution takes its bias and activation along, as one composite function."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_mobilenet.graph.constants import is_constant

COMPOSITE = "Composite"
"""Attribute of the functions made here: the operator, such as ``"tvm_mobilenet.conv2d"``."""

PREFIX = "tvm_mobilenet."

_ANCHORS = {
    "relax.nn.conv2d": "conv2d",
    "relax.matmul": "dense",
    "relax.mean": "pool",
    "relax.nn.softmax": "softmax",
}
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


def readers(func: Any) -> tuple[Counter[Any], dict[Any, Any]]:
    """Count who reads each variable of a function, and find the last binding that does.

    Returns
    -------
    Counter of Var
        The function's result counts as a reader.
    dict of Var to Binding
    """
    reads: Counter[Any] = Counter(variables(func.body.body))
    reader: dict[Any, Any] = {}
    for binding in (b for block in func.body.blocks for b in block.bindings):
        for variable in variables(binding.value):
            reads[variable] += 1
            reader[variable] = binding
    return reads, reader


def _groups(func: Any) -> list[list[Any]]:
    """List the groups of a function, each its bindings in order."""
    bindings = [b for block in func.body.blocks for b in block.bindings]
    reads, reader = readers(func)
    groups = []
    for binding in bindings:
        if not _is_anchor(binding.value):
            continue
        group = [binding]
        while reads[group[-1].var] == 1:
            following = reader.get(group[-1].var)  # None: the function returns it
            if following is None or not _continues(group, following):
                break
            group.append(following)
        groups.append(group)
    return groups


def variables(expr: Any) -> set[Any]:
    """Return the variables that an expression reads, in tuples as well."""
    found: set[Any] = set()
    relax.analysis.post_order_visit(
        expr, lambda node: found.add(node) if isinstance(node, relax.Var) else None
    )
    return found


def _is_anchor(value: Any) -> bool:
    """Whether a call is an operator that a schedule computes: not by its name alone."""
    name = operator_name(value)
    if name not in _ANCHORS:
        return False
    shape = static_shape(value.args[0])
    if shape is None:
        return False
    if name == "relax.mean":
        return len(shape) == 4 and sorted(int(a) % 4 for a in value.attrs.axis) == [2, 3]
    if name == "relax.nn.softmax":
        return len(shape) == 2 and int(value.attrs.axis) in (1, -1)
    weight = static_shape(value.args[1])
    if weight is None or not is_constant(value.args[1]):
        return False
    return len(shape) == len(weight) == 2 if name == "relax.matmul" else _is_convolution(value)


def _is_convolution(call: Any) -> bool:
    """Whether a convolution is one of ours: full or depthwise, NCHW, not dilated."""
    attrs = call.attrs
    channels, filters = int(call.args[0].ty.shape[1]), int(call.args[1].ty.shape[0])
    plain = (attrs.data_layout, attrs.kernel_layout, attrs.out_layout) == ("NCHW", "OIHW", "NCHW")
    undilated = all(int(step) == 1 for step in attrs.dilation)
    groups = int(attrs.groups)
    full_or_depthwise = groups == 1 or groups == channels == filters
    return bool(plain and undilated and full_or_depthwise)


def static_shape(expr: Any) -> tuple[int, ...] | None:
    """Return the shape of a float32 tensor, None of anything else or of unknown size."""
    kind = expr.ty
    if not isinstance(kind, relax.TensorType) or str(kind.dtype) != "float32":
        return None
    sizes = getattr(kind.shape, "values", None)
    if sizes is None or not all(isinstance(size, tirx.IntImm) for size in sizes):
        return None
    return tuple(int(size) for size in sizes)


def _continues(group: list[Any], binding: Any) -> bool:
    """Whether a binding extends a group: a bias first, then one activation, then nothing."""
    done = [operator_name(b.value) for b in group]
    name = operator_name(binding.value)
    if done[0] in ("relax.mean", "relax.nn.softmax") or done[-1] in ("relax.clip", "relax.nn.relu"):
        return False
    if name == "relax.add":
        return done[-1] != "relax.add" and _is_bias(binding.value, group[-1].var)
    if name == "relax.clip":
        return tuple(float(bound.value) for bound in binding.value.args[1:]) == _RELU6
    return name == "relax.nn.relu"


def _is_bias(call: Any, value: Any) -> bool:
    """Whether an addition adds one constant a channel to `value`: no other broadcast."""
    shape, added = static_shape(value), static_shape(call.args[1])
    if shape is None or added is None or not is_constant(call.args[1]):
        return False
    per_channel = (shape[1],) if len(shape) == 2 else (shape[1], 1, 1)
    return added in (per_channel, (1, *per_channel))


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
