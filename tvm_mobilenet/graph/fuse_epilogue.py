"""Phase 2: each convolution takes bias, residual and activation along, as one composite."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_mobilenet.graph.constants import is_constant
from tvm_mobilenet.graph.epilogue import Grower, operator_name, static_shape

COMPOSITE = "Composite"
"""Attribute of the functions made here: the operator, such as ``"tvm_mobilenet.conv2d"``."""

PREFIX = "tvm_mobilenet."

_ANCHORS = {
    "relax.nn.conv2d": "conv2d",
    "relax.matmul": "dense",
    "relax.mean": "pool",
    "relax.nn.softmax": "softmax",
    "relax.multiply": "scale",
}
_ALONE = {"relax.mean", "relax.nn.softmax", "relax.multiply"}
"""Operators whose kernels have no epilogue."""


def fuse_epilogue(mod: Any) -> Any:
    """Group every operator that has a schedule with what follows it element by element.

    before: ``conv2d``, ``add`` of a constant, of a tensor (if the convolution is
    pointwise), ``clip`` to [0, 6] or ``relu`` or a hard sigmoid or hard swish of several
    operators; a binding each, every intermediate read by these alone
    after: one call of a private function that holds them and their constants, with
    ``Composite = "tvm_mobilenet.conv2d"`` (or ``.dense``, ``.pool``, ``.scale``), bound to
    the name of the last one; tensors that it reads are its parameters, the operator's own
    first

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
    reads, _ = readers(func)
    users: dict[Any, list[Any]] = {}
    for binding in bindings:
        for variable in variables(binding.value):
            users.setdefault(variable, []).append(binding)
    grower = Grower(reads, users)
    groups = []
    for binding in bindings:
        if binding.var in grower.taken or not _is_anchor(binding.value):
            continue
        alone = operator_name(binding.value) in _ALONE
        group = [binding] if alone else grower.grow(binding, is_pointwise(binding.value))
        grower.taken.update(member.var for member in group)
        groups.append(group)
    return groups


def is_pointwise(call: Any) -> bool:
    """Whether a call is a 1 x 1 convolution that keeps the map's size."""
    if operator_name(call) != "relax.nn.conv2d":
        return False
    kernel = static_shape(call.args[1])
    attrs = call.attrs
    moved = any(int(s) != 1 for s in attrs.strides) or any(int(p) for p in attrs.padding)
    return kernel is not None and kernel[2:] == (1, 1) and int(attrs.groups) == 1 and not moved


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
    shape = static_shape(value.args[0]) if name in _ANCHORS else None
    if shape is None:
        return False
    if name == "relax.mean":
        return len(shape) == 4 and sorted(int(a) % 4 for a in value.attrs.axis) == [2, 3]
    if name == "relax.nn.softmax":
        return len(shape) == 2 and int(value.attrs.axis) in (1, -1)
    if name == "relax.multiply":
        return _is_scale(*value.args)
    weight = static_shape(value.args[1])
    if weight is None or not is_constant(value.args[1]):
        return False
    return len(shape) == len(weight) == 2 if name == "relax.matmul" else _is_convolution(value)


def _is_scale(data: Any, factors: Any) -> bool:
    """Whether a product is a map's and its channels' factors', both computed by others."""
    if not (isinstance(data, relax.Var) and isinstance(factors, relax.Var)):
        return False
    shape = static_shape(data)
    one_each = shape is not None and static_shape(factors) == (*shape[:2], 1, 1)
    return one_each and shape is not None and len(shape) == 4 and not data.same_as(factors)


def _is_convolution(call: Any) -> bool:
    """Whether a convolution is one of ours: full or depthwise, NCHW, not dilated."""
    attrs = call.attrs
    channels, filters = int(call.args[0].ty.shape[1]), int(call.args[1].ty.shape[0])
    plain = (attrs.data_layout, attrs.kernel_layout, attrs.out_layout) == ("NCHW", "OIHW", "NCHW")
    undilated = all(int(step) == 1 for step in attrs.dilation)
    groups = int(attrs.groups)
    full_or_depthwise = groups == 1 or groups == channels == filters
    return bool(plain and undilated and full_or_depthwise)


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
        call = relax.Call(function, [self.visit_expr(value) for value in _taken_in(group)])
        if isinstance(binding.var, relax.DataflowVar):
            var = self.builder_.emit(call, name)
        else:
            var = self.builder_.emit_output(call, name)
        self.set_var_remap(binding.var, var)


def _taken_in(group: list[Any]) -> list[Any]:
    """Return what a group reads: the operator's input, then the variables of others."""
    bound = {binding.var for binding in group}
    found = [group[0].value.args[0]]
    for argument in (arg for binding in group for arg in binding.value.args):
        inside = not isinstance(argument, relax.Var) or argument in bound
        if not inside and not any(argument.same_as(known) for known in found):
            found.append(argument)
    return found


def _composite(group: list[Any]) -> Any:
    """Build the private function of one group."""
    operator = _ANCHORS[operator_name(group[0].value)]
    builder = relax.BlockBuilder()
    outside = _taken_in(group)
    names = ["data", *(f"other{i}" for i in range(1, len(outside)))]
    params = [relax.Var(name, value.ty) for name, value in zip(names, outside, strict=True)]
    inside = {v: p for v, p in zip(outside, params, strict=True) if isinstance(v, relax.Var)}
    attrs = {COMPOSITE: PREFIX + operator, "Primitive": True}
    with builder.function("composite", params, attrs=attrs, private=True):
        with builder.dataflow():
            for number, binding in enumerate(group):
                call = inlined(binding.value, inside)
                if number == 0:
                    call = relax.Call(call.op, [params[0], *call.args[1:]], call.attrs)
                inside[binding.var] = builder.emit(call)
            output = builder.emit_output(inside[group[-1].var])
        builder.emit_func_output(output)
    return builder.get()["composite"]


def inlined(call: Any, renamed: dict[Any, Any]) -> Any:
    """Return a call on other variables."""
    arguments = [renamed.get(arg, arg) if isinstance(arg, relax.Var) else arg for arg in call.args]
    return relax.Call(call.op, arguments, call.attrs)
