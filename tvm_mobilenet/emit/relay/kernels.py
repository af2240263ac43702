"""One kernel of the classic stack by itself: scheduled, compiled."""

from __future__ import annotations

from typing import Any

import tvm

from tvm_mobilenet.artifact.toolchain import find_linker
from tvm_mobilenet.compute.primfunc import define
from tvm_mobilenet.emit.relay.tir_passes import lowering
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.rules import schedule


def definition(work: Workload) -> Definition:
    """Return a workload's definition."""
    return Definition(define(work), work)


def scheduled(work: Workload, target: TargetSpec, knobs: Knobs) -> tuple[Any, list[Any]]:
    """Schedule a workload.

    Returns
    -------
    te.Schedule, list of te.Tensor
        The tensors in the order of the kernel's arguments.

    Raises
    ------
    KnobError
        The knobs do not fit the schedule.
    """
    made = definition(work)
    return schedule(made, target, knobs), list(made.tensors)


def lowered(work: Workload, target: TargetSpec, knobs: Knobs) -> Any:
    """Return a kernel as an IRModule with one function of the workload's key."""
    s, tensors = scheduled(work, target, knobs)
    with lowering(target):
        return tvm.lower(s, tensors, name=work.key)


def compiled(mod: Any, target: TargetSpec) -> Any:
    """Return lowered functions as a runtime module, machine code in memory."""
    with lowering(target):
        return tvm.build(mod, target=tvm.target.Target(target.tvm_dict()))


def export(mod: Any, target: TargetSpec, path: str) -> None:
    """Compile lowered functions into a shared object.

    Raises
    ------
    ToolchainError
        Nothing here links for the target.
    """
    compiled(mod, target).export_library(path, fcompile=find_linker(target).fcompile)
