"""Which schedule a function gets: ordered by operator, None where nobody claims it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import IRModule
from tvm.s_tir import Schedule
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.nan import keeping_nan
from tvm_mobilenet.schedules.plans import plan, plans_for
from tvm_mobilenet.schedules.tensorir.cpu.axes import write_axes
from tvm_mobilenet.schedules.tensorir.cpu.by_rows import by_rows
from tvm_mobilenet.schedules.tensorir.cpu.conv import schedule_conv
from tvm_mobilenet.schedules.tensorir.cpu.conv_blocked import (
    schedule_conv_blocked,
    schedule_conv_transpose,
)
from tvm_mobilenet.schedules.tensorir.cpu.conv_pool_dense import schedule_conv_pool_dense
from tvm_mobilenet.schedules.tensorir.cpu.copies import write_copies
from tvm_mobilenet.schedules.tensorir.cpu.depthwise import schedule_depthwise
from tvm_mobilenet.schedules.tensorir.cpu.elements import schedule_elements
from tvm_mobilenet.schedules.tensorir.cpu.head import schedule_dense, schedule_pool
from tvm_mobilenet.schedules.tensorir.cpu.lengths import Length, with_lengths
from tvm_mobilenet.schedules.tensorir.cpu.linear import write_linear
from tvm_mobilenet.schedules.tensorir.cpu.max_pool import write_max_pool
from tvm_mobilenet.schedules.tensorir.cpu.micro_kernel import workload_of
from tvm_mobilenet.schedules.tensorir.cpu.moves import write_moves
from tvm_mobilenet.schedules.tensorir.cpu.over_pixels import schedule_over_pixels
from tvm_mobilenet.schedules.tensorir.cpu.pointwise import schedule_pointwise
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch
from tvm_mobilenet.schedules.tensorir.cpu.prefetch_insert import with_prefetches
from tvm_mobilenet.schedules.tensorir.cpu.product import write_product
from tvm_mobilenet.schedules.tensorir.cpu.resize import write_resize
from tvm_mobilenet.schedules.tensorir.cpu.rows import schedule_rows
from tvm_mobilenet.schedules.tensorir.cpu.scale import schedule_scale
from tvm_mobilenet.schedules.tensorir.cpu.separable import schedule_separable
from tvm_mobilenet.schedules.tensorir.cpu.softmax_rows import write_softmax_rows
from tvm_mobilenet.schedules.tensorir.gpu.conv import schedule_conv as gpu_conv
from tvm_mobilenet.schedules.tensorir.gpu.conv_blocked import (
    schedule_conv_blocked as gpu_conv_blocked,
)
from tvm_mobilenet.schedules.tensorir.gpu.dense import write_dense
from tvm_mobilenet.schedules.tensorir.gpu.depthwise import schedule_depthwise as gpu_depthwise
from tvm_mobilenet.schedules.tensorir.gpu.occupancy import with_occupancy
from tvm_mobilenet.schedules.tensorir.gpu.pointwise import write_pointwise
from tvm_mobilenet.schedules.tensorir.gpu.pool import schedule_pool as gpu_pool
from tvm_mobilenet.schedules.tensorir.gpu.rows import schedule_rows as gpu_rows
from tvm_mobilenet.schedules.tensorir.gpu.scale import schedule_scale as gpu_scale
from tvm_mobilenet.schedules.tensorir.gpu.separable import write_separable
from tvm_mobilenet.schedules.tensorir.gpu.stages import REGISTERS
from tvm_mobilenet.schedules.tensorir.gpu.vectors import schedule_vectors as gpu_vectors
from tvm_mobilenet.schedules.tensorir.trace import replay

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.facts import by_loops
from tvm_mobilenet.operators.workload import Workload

Rule = Callable[[Any, Workload, Any, TargetSpec], Sequence[Prefetch | Length]]
GpuRule = Callable[[Any, Workload, Any, TargetSpec], Sequence[Length] | None]

_CPU: dict[str, Rule] = {
    "conv": schedule_conv,
    "conv_blocked": schedule_conv_blocked,
    "conv_nhwc": schedule_conv,
    "conv_transpose": schedule_conv_transpose,
    "dense": schedule_dense,
    "depthwise": schedule_depthwise,
    "elements": schedule_elements,
    "over_pixels": schedule_over_pixels,
    "pointwise": schedule_pointwise,
    "pool": schedule_pool,
    "rows": schedule_rows,
    "scale": schedule_scale,
    "separable": schedule_separable,
    "tail": schedule_conv_pool_dense,
}

CPU = by_loops(_CPU)
"""Operator to schedule, for processors."""

IN_ROWS = frozenset(("conv_blocked", "conv_transpose"))
"""Operators whose pixels become rows and columns before they are scheduled."""

_CPU_WRITTEN: dict[str, Callable[[Workload, Any, TargetSpec], Any]] = {
    "axes": write_axes,
    "copies": write_copies,
    "max_pool": write_max_pool,
    "moves": write_moves,
    "product": write_product,
    "resize": write_resize,
}

CPU_WRITTEN = by_loops(_CPU_WRITTEN)
"""Operators whose loops are written anew for processors."""

CPU_REWRITTEN: dict[str, Callable[[Any, Workload, Any, TargetSpec], Any]] = {
    "linear": write_linear,
    "softmax_rows": write_softmax_rows,
}
"""The same, of those whose epilogues are taken from their definitions."""

GPU_WRITTEN: dict[str, Callable[[Any, Any, TargetSpec], Any]] = {
    "dense": write_dense,
    "pointwise": write_pointwise,
    "separable": write_separable,
}
"""Operators whose loops are written anew for graphics processors."""

_GPU: dict[str, GpuRule] = {
    "conv": gpu_conv,
    "conv_blocked": gpu_conv_blocked,
    "conv_transpose": gpu_conv_blocked,
    "depthwise": gpu_depthwise,
    "elements": gpu_vectors,
    "max_pool": gpu_depthwise,
    "moves": gpu_vectors,
    "pool": gpu_pool,
    "rows": gpu_rows,
    "scale": gpu_scale,
}

GPU = by_loops(_GPU)
"""Operator to schedule, for graphics processors."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A scheduled function and how it came about.

    Attributes
    ----------
    schedule : str
        Name of the schedule, such as ``"cpu.pointwise"``; ``"metaschedule"`` for a trace.
    """

    func: Any
    schedule: str


def schedule(func: Any, target: TargetSpec, knobs: Knobs) -> Scheduled | None:
    """Schedule a function, if its operator is one of ours or there is a trace for it.

    Parameters
    ----------
    func : tirx.PrimFunc
        Unscheduled, carrying its workload as an attribute.
    knobs : Knobs
        Answers the schedule's choices; a record's knobs must all be used.

    Returns
    -------
    Scheduled or None
        None where the function is nobody's: TVM's own lowering has it then.

    Raises
    ------
    KnobError
        The knobs do not fit the schedule.
    """
    if (text := knobs.trace()) is not None:
        knobs.finish()
        return Scheduled(finished(replay(func, text), target), "metaschedule")
    work = workload_of(func)
    plans = plans_for(target, "relax")
    if work is None or work.operator not in plans:
        return None
    planned = plan(work, knobs, target, plans)
    made = (_on_cpu if target.gpu is None else _on_gpu)(func, work, planned, target)
    return Scheduled(
        finished(made, target), f"{'cpu' if target.gpu is None else 'gpu'}.{work.operator}"
    )


def finished(func: Any, target: TargetSpec) -> Any:
    """Return a function whose loops are final, ours or not, as code generation wants it.

    A GPU's is told of NaN later: TVM knows by ``max`` what threads reduce together.
    """
    return keeping_nan(func, target.machine) if target.gpu is None else func


def _on_cpu(func: Any, work: Workload, planned: Any, target: TargetSpec) -> Any:
    if write := CPU_WRITTEN.get(work.operator):
        return write(work, planned, target)
    if rewrite := CPU_REWRITTEN.get(work.operator):
        return rewrite(func, work, planned, target)
    if work.operator in IN_ROWS:
        func = by_rows(func, work, planned.phases)
    sch = Schedule(IRModule({"main": func}))
    edits = CPU[work.operator](sch, work, planned, target)
    func = with_lengths(sch, sch.mod["main"], [e for e in edits if isinstance(e, Length)])
    return with_prefetches(sch, func, [e for e in edits if isinstance(e, Prefetch)])


def _on_gpu(func: Any, work: Workload, planned: Any, target: TargetSpec) -> Any:
    if write := GPU_WRITTEN.get(work.operator):
        return write(func, planned, target)
    gpu = target.the_gpu
    if work.operator in IN_ROWS:
        func = by_rows(func, work, planned.phases, through_registers=True)
    sch = Schedule(IRModule({"main": func}))
    lengths = GPU[work.operator](sch, work, planned, target) or ()
    made = with_lengths(sch, sch.mod["main"], lengths).with_attr(REGISTERS, planned.registers)
    return with_occupancy(made, planned.registers, gpu) if gpu.kind == "cuda" else made
