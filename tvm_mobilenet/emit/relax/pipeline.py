"""The phases in their order, and the module after each if somebody wants to look."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray

from tvm_mobilenet.common.files import dump
from tvm_mobilenet.emit.relax.emit import ENTRY, emit
from tvm_mobilenet.emit.relax.fold_constants import fold_constants
from tvm_mobilenet.emit.relax.legalize_rest import legalize_rest
from tvm_mobilenet.emit.relax.schedule_kernels import (
    Kernel,
    KernelCall,
    calls_in_order,
    schedule_kernels,
)
from tvm_mobilenet.models.spec import symbol
from tvm_mobilenet.network.plan import NetworkPlan

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lowered:
    """A network ready for code generation.

    Attributes
    ----------
    plan : NetworkPlan
        What it was made of.
    mod : IRModule
        Relax calls of scheduled kernels.
    kernels : dict of str to Kernel
        By name.
    calls : list of KernelCall
        In the order of execution; TVM decides which of its own kernels there are.
    """

    plan: NetworkPlan
    mod: Any
    kernels: dict[str, Kernel]
    calls: list[KernelCall]


def lower(
    plan: NetworkPlan, weights: Mapping[str, NDArray[np.float32]], dump_ir: Path | None = None
) -> Lowered:
    """Write a plan as Relax and take it through every phase.

    Parameters
    ----------
    plan : NetworkPlan
        For the main stack.
    weights : mapping of str to ndarray
        Every parameter of the model by its full name.
    dump_ir : Path, optional
        Folder for the plan and the module after each phase, ``NN_phase.py`` in TVMScript.
    """
    tvm_target = tvm.target.Target(plan.target.tvm_dict())
    kernels: dict[str, Kernel] = {}

    def scheduled(mod: Any) -> Any:
        mod, found = schedule_kernels(mod, plan)
        kernels.update(found)
        return mod

    phases: list[tuple[str, Callable[[Any], Any]]] = [
        ("emit", lambda _: emit(plan, weights)),
        ("fold_constants", fold_constants),
        ("legalize_rest", lambda mod: legalize_rest(mod, tvm_target)),
        ("schedule_kernels", scheduled),
    ]
    dump(dump_ir, "00_plan.txt", lambda: plan.text)
    mod: Any = None
    for number, (name, phase) in enumerate(phases, 1):
        begun = time.perf_counter()
        mod = phase(mod)
        _log.info("phase %s: %.2f s", name, time.perf_counter() - begun)
        dump(dump_ir, f"{number:02d}_{name}.py", partial(mod.script, show_meta=False))
    _log.info("%d layers, %d different kernels", len(plan.model.layers), len(kernels))
    return Lowered(plan, mod, kernels, _named_calls(mod, plan))


def _named_calls(mod: Any, plan: NetworkPlan) -> list[KernelCall]:
    """List the calls; what the function returns is bound to a name of its own, which is undone."""
    returned, last = str(mod[ENTRY].body.body.name), symbol(plan.model.outputs[0])
    calls = calls_in_order(mod, ENTRY)
    if last in {call.value for call in calls}:  # that call only changes its layout
        return calls
    return [replace(call, value=last) if call.value == returned else call for call in calls]
