"""Phase 4: every kernel gets its schedule, with the knobs of the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm import tirx

from tvm_mobilenet.emit.relax.reading import bindings, calls_kernel
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.network.plan import KernelPlan, NetworkPlan
from tvm_mobilenet.operators.workload import workload_key
from tvm_mobilenet.schedules.knobs import KnobError, Knobs
from tvm_mobilenet.schedules.tensorir.cpu.fallback import share_among_threads
from tvm_mobilenet.schedules.tensorir.cpu.layout import FINISHED
from tvm_mobilenet.schedules.tensorir.gpu.fallback import bind_to_threads
from tvm_mobilenet.schedules.tensorir.rules import Scheduled, finished, schedule


@dataclass(frozen=True, slots=True)
class Kernel:
    """What a kernel became.

    Attributes
    ----------
    name : str
        Its symbol: the workload's key and what it prefetches, or TVM's name for one of its own.
    operator : str
        ``"pointwise"``, …; of a kernel of TVM's own, its symbol.
    schedule : str
        Such as ``"cpu.pointwise"``; ``"metaschedule"`` for a recorded trace, ``"tvm"`` for
        a kernel of TVM's own.
    knobs : dict
        The choices, by name.
    source : {"rule", "record", "fallback"}
        Where they came from.
    note : str
        What was wrong with the knobs recorded for it, if something was.
    """

    name: str
    operator: str
    schedule: str
    knobs: Mapping[str, int | str] = field(default_factory=dict)
    source: str = "fallback"
    note: str = ""


def schedule_kernels(mod: Any, plan: NetworkPlan) -> tuple[Any, dict[str, Kernel]]:
    """Schedule the kernels of a module.

    before: ``PrimFunc`` as its TE definition reads, carrying its operator
    after: the same function, tiled, vectorized and parallel; on a GPU bound to threads

    Returns
    -------
    IRModule
        The same functions, scheduled.
    dict of str to Kernel
        One for every ``PrimFunc``, by its name. A recorded trace of MetaSchedule's that cannot
        be replayed is not used, and the kernel's note says why.
    """
    functions, kernels = {}, {}
    for gv, func in mod.functions.items():
        name = str(gv.name_hint)
        if isinstance(func, tirx.PrimFunc):
            planned = plan.kernels.get(workload_key(name))
            if (func.attrs or {}).get(FINISHED):
                kernels[name] = Kernel(name, name, "cpu.layout")
            elif planned is None:
                kernels[name] = Kernel(name, name, "tvm")
                func = _foreign(func, plan.target)  # noqa: PLW2901
            else:
                knobs = Knobs(plan.recorded(planned.work.key))
                done, kernels[name] = _scheduled(name, func, planned, knobs, plan.target)
                func = done.func  # noqa: PLW2901
        functions[gv] = func
    return tvm.IRModule(functions, attrs=mod.attrs), kernels


def _foreign(func: Any, target: TargetSpec) -> Any:
    shared = share_among_threads if target.gpu is None else bind_to_threads
    return finished(shared(func, target), target)


def _scheduled(
    name: str, func: Any, planned: KernelPlan, knobs: Knobs, target: TargetSpec
) -> tuple[Scheduled, Kernel]:
    note, work = planned.note, planned.work
    if work.written:
        how = f"cpu.{work.operator}"
        made = Kernel(name, work.operator, how, planned.knobs, planned.source, note)
        return Scheduled(func, how), made
    try:
        done = schedule(func, target, knobs)
    except KnobError as error:
        knobs, note = Knobs(), f"{error.what}; the rule is used instead"
        done = schedule(func, target, knobs)
    assert done is not None
    return done, Kernel(name, work.operator, done.schedule, knobs.chosen, knobs.source, note)


@dataclass(frozen=True, slots=True)
class KernelCall:
    """One call of a kernel, ours or TVM's.

    Attributes
    ----------
    kernel : str
        Name of the kernel.
    value : str
        Name of the variable that it computes.
    shape : tuple of int
        Shape of what it computes, in the layout that it is computed in.
    """

    kernel: str
    value: str
    shape: tuple[int, ...]


def calls_in_order(mod: Any, entry: str) -> list[KernelCall]:
    """List the kernels that the entry function of a module in ``call_tir`` calls, as it does."""
    return [
        KernelCall(
            str(binding.value.args[0].name_hint),
            str(binding.var.name),
            tuple(int(size) for size in binding.var.ty.shape),
        )
        for binding in bindings(mod[entry])
        if calls_kernel(binding.value)
    ]
