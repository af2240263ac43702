"""One kernel of the classic stack by itself: scheduled, compiled, and the control kernel."""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm import te

from tvm_mobilenet.compute.primfunc import define
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.relay.tir_passes import lowering
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.rules import schedule
from tvm_mobilenet.target import TargetSpec
from tvm_mobilenet.toolchain import find_linker


def definition(work: Workload) -> Definition:
    """Return a workload's definition."""
    return Definition(define(work), work)


def scheduled(work: Workload, target: TargetSpec, knobs: Knobs) -> tuple[Any, list[Any]]:
    """Schedule a workload.

    Parameters
    ----------
    work : Workload
    target : TargetSpec
    knobs : Knobs

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

    Parameters
    ----------
    mod : IRModule
    target : TargetSpec
    path : str

    Raises
    ------
    ToolchainError
        Nothing here links for the target.
    """
    compiled(mod, target).export_library(path, fcompile=find_linker(target).fcompile)


def moved_bytes(work: Workload) -> int:
    """Return the bytes of a kernel's inputs, weights and output, each once."""
    shapes = [tensor.shape for tensor in definition(work).tensors]
    return 4 * sum(math.prod(int(size) for size in shape) for shape in shapes)


def chains(threads: int, chains_: int, lanes: int, steps: int) -> Any:
    """Return the control kernel, as :func:`tvm_mobilenet.bench.peak.chains_module` has it.

    Parameters
    ----------
    threads, chains_, lanes : int
        Of the output, (threads, chains, lanes).
    steps : int
        Multiply-adds of a chain.
    """
    x = te.placeholder((lanes,), name="x")
    chain = te.comm_reducer(
        lambda y, v: y * v + tvm.tir.const(1e-6, "float32"),
        lambda dtype: tvm.tir.const(1.0, dtype),
        name="chain",
    )
    k = te.reduce_axis((0, steps), name="k")
    y = te.compute((threads, chains_, lanes), lambda t, c, i: chain(x[i], axis=k), name="y")
    s = te.create_schedule(y.op)
    store = s.cache_write(y, "global")
    t, c, i = s[y].op.axis
    s[store].compute_at(s[y], t)
    part, own, lane = s[store].op.axis
    s[store].reorder(part, s[store].op.reduce_axis[0], own, lane)
    for stage, unrolled, vector in ((store, own, lane), (y, c, i)):
        s[stage].unroll(unrolled)
        s[stage].vectorize(vector)
    s[y].parallel(t)
    return tvm.lower(s, [x, y], name="main")
