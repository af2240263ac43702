"""Phase 8: every kernel gets its schedule, its knobs from a record or by rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm import relax, tirx

from tvm_mobilenet.operators.workload import workload_key
from tvm_mobilenet.schedules.cpu.micro_kernel import workload_of
from tvm_mobilenet.schedules.gpu.fallback import bind_to_threads
from tvm_mobilenet.schedules.knobs import KnobError, Knobs
from tvm_mobilenet.schedules.rules import Scheduled, finished, schedule
from tvm_mobilenet.target import TargetSpec

KnobsFor = Callable[[str], "Mapping[str, int | str] | None"]
"""From a workload's key to the knobs recorded for it, None where there are none."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """What a kernel became.

    Attributes
    ----------
    name : str
        Its symbol: the workload's key, or TVM's name for a fallback.
    operator : str
        ``"pointwise"``, …; for a fallback, its symbol.
    schedule : str
        Such as ``"cpu.pointwise"``; ``"metaschedule"`` for a recorded trace, ``"tvm"`` for
        a fallback.
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
    knobs: dict[str, int | str] = field(default_factory=dict)
    source: str = "fallback"
    note: str = ""


def schedule_kernels(
    mod: Any, target: TargetSpec, knobs_for: KnobsFor
) -> tuple[Any, dict[str, Kernel]]:
    """Schedule the kernels of a module.

    before: ``PrimFunc`` as its TE definition reads, carrying its operator
    after: the same function, tiled, vectorized and parallel; on a GPU bound to threads

    Parameters
    ----------
    mod : IRModule
    target : TargetSpec
    knobs_for : callable
        Where recorded knobs come from. Those that do not fit the schedule are not
        used, and the kernel's note says why.

    Returns
    -------
    IRModule
    dict of str to Kernel
        One for every ``PrimFunc``, by its name.
    """
    functions, kernels = {}, {}
    for gv, func in mod.functions.items():
        name = str(gv.name_hint)
        if isinstance(func, tirx.PrimFunc):
            done, knobs, note = _scheduled(func, target, knobs_for(workload_key(name)))
            work = workload_of(func)
            operator = name if work is None else work.operator
            if done is None:
                kernels[name] = Kernel(name, operator, "tvm")
                if target.gpu is not None:
                    func = bind_to_threads(func, target)  # noqa: PLW2901
                func = finished(func, target)  # noqa: PLW2901
            else:
                kernels[name] = Kernel(
                    name, operator, done.schedule, knobs.chosen, knobs.source, note
                )
                func = done.func  # noqa: PLW2901
        functions[gv] = func
    return tvm.IRModule(functions, attrs=mod.attrs), kernels


def _scheduled(
    func: Any, target: TargetSpec, recorded: Mapping[str, int | str] | None
) -> tuple[Scheduled | None, Knobs, str]:
    """Schedule with recorded knobs if they fit, else by rule and say why."""
    knobs = Knobs(recorded)
    try:
        done = schedule(func, target, knobs)
    except KnobError as error:
        if recorded is None:
            raise
        knobs = Knobs()
        note = f"{error.what}; the rule is used instead"
        return schedule(func, target, knobs), knobs, note
    silent = sorted(set(knobs.chosen) - set(recorded)) if recorded is not None else []
    note = f"it does not say {', '.join(silent)}: there the rule is used" if silent else ""
    return done, knobs, note


@dataclass(frozen=True, slots=True)
class KernelCall:
    """One call of a kernel.

    Attributes
    ----------
    kernel : str
        Name of the kernel.
    value : str
        Name of the variable that it computes.
    shape : tuple of int
        Of what it computes, in the layout that it is computed in.
    """

    kernel: str
    value: str
    shape: tuple[int, ...]


def calls_in_order(mod: Any, entry: str) -> list[KernelCall]:
    """List the kernels that the entry function calls, as it calls them.

    Parameters
    ----------
    mod : IRModule
        Lowered to ``call_tir``.
    entry : str
    """
    call_tir = tvm.ir.Op.get("relax.call_tir")
    return [
        KernelCall(
            str(binding.value.args[0].name_hint),
            str(binding.var.name),
            tuple(int(size) for size in binding.var.ty.shape),
        )
        for block in mod[entry].body.blocks
        for binding in block.bindings
        if isinstance(binding.value, relax.Call) and binding.value.op.same_as(call_tir)
    ]


def readers_of_input(mod: Any, entry: str) -> list[str]:
    """List the kernels that read what the entry function is given, or a view of it.

    Parameters
    ----------
    mod : IRModule
        Lowered to ``call_tir``.
    entry : str
    """
    call_tir = tvm.ir.Op.get("relax.call_tir")
    given, found = {mod[entry].params[0]}, []
    for binding in (b for block in mod[entry].body.blocks for b in block.bindings):
        value = binding.value
        if isinstance(value, relax.Call) and value.op.same_as(call_tir):
            if any(argument in given for argument in value.args[1]):
                found.append(str(value.args[0].name_hint))
        elif value in given or any(argument in given for argument in getattr(value, "args", [])):
            given.add(binding.var)
    return found
