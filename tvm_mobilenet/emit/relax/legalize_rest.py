"""Phase 3: operators that are not ours become kernels of TVM's own, fused by TVM."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax
from tvm.ir import GlobalVar
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_mobilenet.emit.relax.foreign import is_part
from tvm_mobilenet.emit.relax.reading import bindings, calls_kernel

BLOCKED = "__blocked"
"""Ends the name of what is a layer's value in another order."""

_NUMBER = "tvm_mobilenet.call"
"""Attribute of a kernel while it is one call's alone."""

_LONGEST = 80
"""Characters of a fused kernel's name; longer ones are cut, and numbered where they meet."""

_AUTOMATIC = re.compile(r"(lv|gv)\d*")
"""Names that the builder makes up."""


def legalize_rest(mod: Any, target: Any) -> Any:
    """Legalize what is left.

    before: ``y = relax.nn.leakyrelu(x)``
    after: ``y = call_tir(leaky_relu, (x,))``; several element-wise kernels are one, bound
    to the name of the last, or to ``y`` and :data:`BLOCKED` where it puts y in blocks as
    well; a reshape is a view, no kernel
    """
    with target:
        legal = tvm.transform.Sequential(
            [relax.transform.LegalizeOps(), relax.transform.AnnotateTIROpPattern()]
        )(mod)
        apart, calls = _with_a_kernel_each(legal)
        named = _with_names(relax.transform.FuseOps()(apart), calls)
        return tvm.transform.Sequential(
            [
                relax.transform.FuseTIR(),
                relax.transform.CanonicalizeBindings(),
                relax.transform.RewriteDataflowReshape(),
                relax.transform.DeadCodeElimination(),
            ]
        )(named)


@dataclass(frozen=True, slots=True)
class _Call:
    """What a call of a kernel was before FuseOps took it apart from its variable."""

    value: str
    kernel: GlobalVar


def _with_a_kernel_each(mod: Any) -> tuple[Any, dict[str, _Call]]:
    """Give every call a kernel of its own, whose name then says which call it is.

    FuseOps moves calls into functions and renames the last variable of each; the functions
    that they call it leaves alone.
    """
    separator = _Separator(mod)
    for gv, func in mod.functions.items():
        if isinstance(func, relax.Function):
            separator.builder_.update_func(gv, separator.visit_expr(func))
    return separator.builder_.get(), separator.calls


@mutator
class _Separator(PyExprMutator):  # type: ignore[misc]
    def __init__(self, mod: Any) -> None:
        super().__init__(mod)
        self._mod = mod
        self._value = ""
        self.calls: dict[str, _Call] = {}

    def visit_var_binding_(self, binding: Any) -> None:
        self._value = str(binding.var.name)
        super().visit_var_binding_(binding)

    def visit_call_(self, op: Any) -> Any:
        call = super().visit_call_(op)
        if not calls_kernel(call):
            return call
        kernel = call.args[0]
        # The attribute keeps the builder from taking equal kernels for the same.
        own = self._mod[kernel].with_attr(_NUMBER, len(self.calls))
        gv = self.builder_.add_func(own, str(kernel.name_hint))
        self.calls[str(gv.name_hint)] = _Call(self._value, kernel)
        return relax.Call(call.op, [gv, *call.args[1:]], call.attrs, call.ty_args, call.span)


def _with_names(mod: Any, calls: dict[str, _Call]) -> Any:
    """Write the module anew: kernels shared again, fused calls with the names FuseOps forgot."""
    builder = relax.BlockBuilder()
    added: dict[Any, Any] = {}
    fused: list[tuple[Any, Any]] = []
    entries: list[tuple[Any, Any]] = []
    for gv, func in mod.functions.items():
        if isinstance(func, relax.Function):
            (fused if _primitive(func) else entries).append((gv, func))
        elif str(gv.name_hint) not in calls:
            added[gv] = builder.add_func(func, str(gv.name_hint))
    kernels = {
        gv: added[calls[str(gv.name_hint)].kernel]
        for gv in mod.functions
        if str(gv.name_hint) in calls
    }
    values: dict[Any, str] = {}
    for gv, func in fused:
        inside = [calls[str(call.args[0].name_hint)] for call in _kernel_calls(func)]
        values[gv] = _value([call.value for call in inside])
        name = "_".join(["fused", *(str(call.kernel.name_hint) for call in inside)])
        added[gv] = builder.add_func(_Namer(added | kernels, {}).visit_expr(func), name[:_LONGEST])
    for gv, func in entries:
        builder.add_func(_Namer(added | kernels, values).visit_expr(func), str(gv.name_hint))
    return builder.get()


def _primitive(func: Any) -> bool:
    return bool((func.attrs or {}).get("Primitive"))


def _kernel_calls(func: Any) -> list[Any]:
    return [b.value for b in bindings(func) if calls_kernel(b.value)]


def _value(inside: list[str]) -> str:
    """Name what a fused function computes, by the values of the calls in it; "" for nothing."""
    named = [name for name in inside if not _AUTOMATIC.fullmatch(name)]
    if not named or named[-1] == inside[-1]:
        return named[-1] if named else ""
    # What follows it has no name: a change of its layout. A part's needs none.
    return "" if is_part(named[-1]) else f"{named[-1]}{BLOCKED}"


@mutator
class _Namer(PyExprMutator):  # type: ignore[misc]
    """Calls other functions instead, and binds what some of them return to a name."""

    def __init__(self, functions: dict[Any, Any], values: dict[Any, str]) -> None:
        super().__init__()
        self._functions = functions
        self._values = values

    def visit_global_var_(self, op: Any) -> Any:
        return self._functions.get(op, op)

    def visit_var_binding_(self, binding: Any) -> None:
        call = binding.value
        name = self._values.get(call.op) if isinstance(call, relax.Call) else ""
        if not name:
            super().visit_var_binding_(binding)
            return
        value = self.visit_expr(call)
        dataflow = isinstance(binding.var, relax.DataflowVar)
        emit = self.builder_.emit if dataflow else self.builder_.emit_output
        self.set_var_remap(binding.var, emit(value, name))
