"""Phase 7: kernels with time to spare prefetch the weights of those that will wait for theirs.

Which and how much is decided by :mod:`tvm_mobilenet.prediction.ahead`; the kernel takes them as
another parameter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.graph.constants import is_constant
from tvm_mobilenet.operators.ahead import Ahead
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.prediction.ahead import WAITING, plan_ahead
from tvm_mobilenet.prediction.cost import FLOAT
from tvm_mobilenet.target import TargetSpec


@dataclass(slots=True)
class _Call:
    """A call of a kernel of ours."""

    var: Any
    name: str
    arguments: tuple[Any, ...]
    work: Workload
    ahead: list[tuple[Ahead, Any]] = field(default_factory=list)


def fetch_ahead(mod: Any, target: TargetSpec, entry: str, works: dict[str, Workload]) -> Any:
    """Spread the weights of kernels that would wait for memory over the kernels before them.

    before: ``y = call_tir(expand, (x, W, B))``, …, ``z = call_tir(dense, (v, V, C))``
    after: ``y = call_tir(expand_ahead_…, (x, W, B, V))``, … ``z`` as before

    Parameters
    ----------
    mod : IRModule
        Kernels unscheduled, weights packed.
    target : TargetSpec
    entry : str
    works : dict of str to Workload
        What each kernel computes, by name; the new kernels are added.

    Returns
    -------
    IRModule
    """
    calls = _calls(mod, entry, works)
    plan = plan_ahead([(call.work, _own(call), _late(call)) for call in calls], target)
    for call, pieces in zip(calls, plan, strict=True):
        for piece, at in pieces:
            waiting = calls[at]
            call.ahead.append((piece, waiting.arguments[WAITING[waiting.work.operator]]))
    hosts = {call.var: call for call in calls if call.ahead}
    if not hosts:
        return mod
    changer = _Changer(mod, hosts, works)
    gv = mod.get_global_var(entry)
    changer.builder_.update_func(gv, changer.visit_expr(mod[entry]))
    return relax.transform.DeadCodeElimination()(changer.builder_.get())


def _calls(mod: Any, entry: str, works: Mapping[str, Workload]) -> list[_Call]:
    """List the calls of our kernels in the order of execution."""
    call_tir = tvm.ir.Op.get("relax.call_tir")
    found = []
    for binding in (b for block in mod[entry].body.blocks for b in block.bindings):
        call = binding.value
        if not (isinstance(call, relax.Call) and call.op.same_as(call_tir)):
            continue
        name = str(call.args[0].name_hint)
        if name in works:
            found.append(_Call(binding.var, name, tuple(call.args[1]), works[name]))
    return found


def _own(call: _Call) -> int:
    """Return the bytes of a kernel's weights."""
    constants = [_shape(argument) for argument in call.arguments if is_constant(argument)]
    return FLOAT * sum(map(math.prod, constants))


def _late(call: _Call) -> tuple[int, ...] | None:
    """Return the shape of the weights that a kernel may wait for."""
    if call.work.operator not in WAITING:
        return None
    weights = call.arguments[WAITING[call.work.operator]]
    return _shape(weights) if is_constant(weights) else None


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in tensor.ty.shape)


@mutator
class _Changer(PyExprMutator):  # type: ignore[misc]
    """Replaces the hosts' calls."""

    def __init__(self, mod: Any, hosts: dict[Any, _Call], works: dict[str, Workload]) -> None:
        super().__init__(mod)
        self._hosts, self._works = hosts, works
        self._made: dict[str, Any] = {}

    def visit_var_binding_(self, binding: Any) -> None:
        host = self._hosts.get(binding.var)
        if host is None:
            super().visit_var_binding_(binding)
            return
        ahead = tuple(piece for piece, _ in host.ahead)
        func = prim_func(host.work, ahead)
        name = str(func.attrs["global_symbol"])
        if name not in self._made:
            self._works[name] = host.work
            self._made[name] = self.builder_.add_func(func.with_attr("op_pattern", 8), name)
        arguments = [self.visit_expr(arg) for arg in host.arguments]
        arguments += [weights for _, weights in host.ahead]
        call = relax.call_tir(self._made[name], arguments, binding.value.ty)
        inner = isinstance(binding.var, relax.DataflowVar)
        emit = self.builder_.emit if inner else self.builder_.emit_output
        self.set_var_remap(binding.var, emit(call, binding.var.name))
