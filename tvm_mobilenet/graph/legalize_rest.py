"""Phase 6: operators that are not ours become kernels of TVM's own, fused by TVM."""

from __future__ import annotations

import re
from typing import Any

import tvm
from tvm import relax
from tvm.ir import GlobalVar
from tvm.relax.expr_functor import PyExprMutator, mutator

BLOCKED = "__blocked"
"""Ends the name of what is a layer's value in another order."""

_AUTOMATIC = re.compile(r"(lv|gv)\d*")
"""Names that the builder makes up."""


def legalize_rest(mod: Any, target: Any) -> Any:
    """Legalize what is left.

    before: ``y = relax.nn.leakyrelu(x)``
    after: ``y = call_tir(leaky_relu, (x,))``; several element-wise kernels are one, bound
    to the name of the last, or to ``y`` and :data:`BLOCKED` where it puts y in blocks as
    well; a reshape is a view, no kernel

    Parameters
    ----------
    mod : IRModule
    target : tvm.target.Target

    Returns
    -------
    IRModule
    """
    with target:
        legal = tvm.transform.Sequential(
            [relax.transform.LegalizeOps(), relax.transform.AnnotateTIROpPattern()]
        )(mod)
        fused = relax.transform.FuseOps()(legal)
        named = _with_names(fused, _names(legal))
        return tvm.transform.Sequential(
            [
                relax.transform.FuseTIR(),
                relax.transform.CanonicalizeBindings(),
                relax.transform.RewriteDataflowReshape(),
            ]
        )(named)


def _key(call: Any) -> str:
    """Spell a call of a kernel by the names of what it reads: the same within any function."""
    function, read = call.args[0], call.args[1]
    arguments = [str(v.name) if isinstance(v, relax.Var) else "" for v in read.fields]
    return f"{function.name_hint}({','.join(arguments)})"


def _names(mod: Any) -> dict[str, str]:
    """Return the name of the variable behind each call of a kernel."""
    return {
        _key(binding.value): str(binding.var.name)
        for func in mod.functions.values()
        if isinstance(func, relax.Function)
        for block in func.body.blocks
        for binding in block.bindings
        if _calls_kernel(binding.value)
    }


def _calls_kernel(value: Any) -> bool:
    call_tir = tvm.ir.Op.get("relax.call_tir")
    return isinstance(value, relax.Call) and value.op.same_as(call_tir)


def _with_names(mod: Any, names: dict[str, str]) -> Any:
    """Give calls of fused functions the names that FuseOps forgets."""
    for gv, func in mod.functions.items():
        if isinstance(func, relax.Function) and not (func.attrs or {}).get("Primitive"):
            namer = _Namer(mod, names)
            namer.builder_.update_func(gv, namer.visit_expr(func))
            mod = namer.builder_.get()
    return mod


@mutator
class _Namer(PyExprMutator):  # type: ignore[misc]
    def __init__(self, mod: Any, names: dict[str, str]) -> None:
        super().__init__(mod)
        self._mod = mod
        self._names = names

    def visit_var_binding_(self, binding: Any) -> None:
        call = binding.value
        name = None
        if isinstance(call, relax.Call) and isinstance(call.op, GlobalVar):
            name = self._name(self._mod[call.op].body.blocks[-1].bindings)
        if not name:
            super().visit_var_binding_(binding)
            return
        value = self.visit_expr(call)
        dataflow = isinstance(binding.var, relax.DataflowVar)
        emit = self.builder_.emit if dataflow else self.builder_.emit_output
        self.set_var_remap(binding.var, emit(value, name))

    def _name(self, bindings: Any) -> str:
        """Return the name of what a fused function computes, "" if it has none."""
        last = bindings[-1].value
        name = self._names.get(_key(last), "") if _calls_kernel(last) else ""
        if name and not _AUTOMATIC.fullmatch(name):
            return name
        inside = [str(binding.var.name) for binding in bindings]
        layers = [name for name in inside if not _AUTOMATIC.fullmatch(name)]
        return f"{layers[-1]}{BLOCKED}" if layers else ""
