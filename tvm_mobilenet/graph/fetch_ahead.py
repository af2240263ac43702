"""Phase 7: kernels with time to spare prefetch the weights of those that will wait for theirs.

A matrix times a vector (squeeze-and-excite, a classifier) uses each weight once: in a network
whose weights do not stay in cache it takes as long as memory does, and its cores do nothing.
The convolutions before it are the other way round. So each of them gets a share of those
weights as another parameter, which it prefetches while it computes (ADR 0012).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_mobilenet.compute.primfunc import LINE, Ahead, prim_func
from tvm_mobilenet.compute.workload import Workload
from tvm_mobilenet.graph.around import Around, map_bytes, weight_bytes
from tvm_mobilenet.graph.constants import is_constant
from tvm_mobilenet.graph.cost import FLOAT, Caches
from tvm_mobilenet.graph.speeds import speeds_of
from tvm_mobilenet.target import TargetSpec

_USED = 0.8
"""Of memory's bandwidth that prefetches may take, a kernel's own weights among them."""

_REMEMBERED = 0.75
"""Of L3, how many bytes may pass between a prefetch and its use. More than the share that the
cost model counts on: what is lost cost nothing but bandwidth that nobody used."""

_LEAST = 1 << 14
"""Bytes that are worth a prefetch, and so a kernel of its own."""

_HOSTS = ("pointwise", "separable")

_WAITING = {"pointwise": 1, "dense": 1, "tail": 3}
"""Operators whose weights can be prefetched, and which of their arguments those are."""


@dataclass(slots=True)
class _Call:
    """A call of a kernel of ours.

    `spare` are bytes that memory could deliver meanwhile beyond its own weights; negative
    for one that waits for memory. `moved` are bytes that pass through the caches.
    """

    var: Any
    name: str
    arguments: tuple[Any, ...]
    work: Workload
    spare: float
    moved: float
    ahead: list[tuple[Ahead, Any]] = field(default_factory=list)


def fetch_ahead(mod: Any, target: TargetSpec, entry: str, works: dict[str, Workload]) -> Any:
    """Spread the weights of kernels that would wait for memory over the kernels before them.

    before: ``y = call_tir(expand, (x, W, B))``, …, ``z = call_tir(dense, (v, V, C))``
    after: ``y = call_tir(expand_ahead_…, (x, W, B, V))``, … ``z`` as before

    From the last kernel to the first, each takes the nearest hosts that have bandwidth left:
    nothing is fetched earlier than it must be, or further ahead than L3 remembers.

    Only where weights come from memory, and where there is an L3 to remember: what is
    fetched passes through it.

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
    calls = _calls(mod, target, entry, works)
    around = Around(
        sum(weight_bytes(call.work) for call in calls if call.work.operator != "strassen"),
        tuple(map_bytes(call.work) for call in calls) or (0,),
        0,
    )
    threads = target.cores
    if not target.l3_bytes or around.cold(Caches.of(target, threads), threads) != "memory":
        return mod
    for at in range(len(calls) - 1, -1, -1):
        if calls[at].spare <= -_LEAST:
            _spread(calls[:at], calls[at], target)
    hosts = {call.var: call for call in calls if call.ahead}
    changer = _Changer(mod, hosts, works)
    gv = mod.get_global_var(entry)
    changer.builder_.update_func(gv, changer.visit_expr(mod[entry]))
    return relax.transform.DeadCodeElimination()(changer.builder_.get())


def _calls(mod: Any, target: TargetSpec, entry: str, works: Mapping[str, Workload]) -> list[_Call]:
    """List the calls of our kernels in the order of execution."""
    call_tir = tvm.ir.Op.get("relax.call_tir")
    found = []
    for binding in (b for block in mod[entry].body.blocks for b in block.bindings):
        call = binding.value
        if not (isinstance(call, relax.Call) and call.op.same_as(call_tir)):
            continue
        name = str(call.args[0].name_hint)
        if name in works:
            work, arguments = works[name], tuple(call.args[1])
            weights = sum(_bytes(arg) for arg in arguments if is_constant(arg))
            moved = weights + map_bytes(work)
            spare = _deliverable(work, target) - weights
            found.append(_Call(binding.var, name, arguments, work, spare, moved))
    return found


def _deliverable(work: Workload, target: TargetSpec) -> float:
    """Return the bytes that memory delivers while all cores compute a kernel."""
    speeds = speeds_of(target)
    memory = min(speeds.memory * target.cores, speeds.memory_all)
    return _USED * memory * work.macs / (speeds.pipes * target.lanes * target.cores)


def _spread(before: Sequence[_Call], waiting: _Call, target: TargetSpec) -> None:
    """Give the weights of a kernel to those before it, the nearest first."""
    if waiting.work.operator not in _WAITING:
        return
    weights = waiting.arguments[_WAITING[waiting.work.operator]]
    if not is_constant(weights):
        return
    parts = target.cores
    part = _bytes(weights) // (FLOAT * LINE * parts)
    line = FLOAT * LINE * parts  # of every part one
    left = min(math.ceil(-waiting.spare / line), part)
    window = _REMEMBERED * target.l3_bytes - waiting.moved
    for host in reversed(before):
        window -= host.moved
        if window < 0 or left * line < _LEAST:
            return
        if host.work.operator not in _HOSTS or host.spare < _LEAST:
            continue
        lines = min(int(host.spare / line), left)
        left -= lines
        # What is used last is fetched first.
        shape = tuple(int(size) for size in weights.ty.shape)
        host.ahead.append((Ahead(shape, parts, left, lines), weights))
        host.spare -= lines * line
        host.moved += lines * line
        window -= lines * line


def _bytes(tensor: Any) -> int:
    return FLOAT * math.prod(int(size) for size in tensor.ty.shape)


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
