"""Which TE schedule an operator gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import te
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans import plan, plans_for
from tvm_mobilenet.schedules.te.conv import schedule_conv
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.depthwise import schedule_depthwise
from tvm_mobilenet.schedules.te.gpu.conv import schedule_conv as gpu_conv
from tvm_mobilenet.schedules.te.gpu.depthwise import schedule_depthwise as gpu_depthwise
from tvm_mobilenet.schedules.te.gpu.head import schedule_dense as gpu_dense
from tvm_mobilenet.schedules.te.gpu.head import schedule_pool as gpu_pool
from tvm_mobilenet.schedules.te.gpu.pointwise import schedule_pointwise as gpu_pointwise
from tvm_mobilenet.schedules.te.gpu.rows import schedule_rows as gpu_rows
from tvm_mobilenet.schedules.te.gpu.scale import schedule_scale as gpu_scale
from tvm_mobilenet.schedules.te.head import schedule_dense, schedule_pool
from tvm_mobilenet.schedules.te.pointwise import schedule_pointwise
from tvm_mobilenet.schedules.te.prefetch import place
from tvm_mobilenet.schedules.te.rows import schedule_rows
from tvm_mobilenet.schedules.te.scale import schedule_scale
from tvm_mobilenet.schedules.te.separable import schedule_separable
from tvm_mobilenet.schedules.te.steps import replay
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.facts import by_loops

Rule = Callable[[Any, Definition, Any], list[Prefetch]]

_TE: dict[str, Rule] = {
    "conv": schedule_conv,
    "dense": schedule_dense,
    "depthwise": schedule_depthwise,
    "max_pool": schedule_depthwise,
    "pointwise": schedule_pointwise,
    "pool": schedule_pool,
    "rows": schedule_rows,
    "scale": schedule_scale,
    "separable": schedule_separable,
}

TE = by_loops(_TE)
"""Operator to schedule, for processors."""

GpuRule = Callable[[Any, Definition, Any, TargetSpec], None]

_TE_GPU: dict[str, GpuRule] = {
    "conv": gpu_conv,
    "dense": gpu_dense,
    "depthwise": gpu_depthwise,
    "max_pool": gpu_depthwise,
    "pointwise": gpu_pointwise,
    "pool": gpu_pool,
    "rows": gpu_rows,
    "scale": gpu_scale,
}

TE_GPU = by_loops(_TE_GPU)
"""Operator to schedule, for graphics processors."""


def operators_of(target: TargetSpec) -> frozenset[str]:
    """Return the operators that have a TE schedule for a target."""
    return frozenset(TE if target.gpu is None else TE_GPU)


def schedule(made: Definition, target: TargetSpec, knobs: Knobs) -> Any:
    """Schedule a definition with TE, by our own schedule or by Ansor's recorded steps.

    Parameters
    ----------
    made : Definition
        Its operator is one of :func:`operators_of` the target.
    knobs : Knobs
        Answers the schedule's choices; a record's knobs must all be used.

    Raises
    ------
    KnobError
        The knobs do not fit the schedule.
    KeyError
        The operator has no TE schedule.
    """
    if (text := knobs.trace()) is not None:
        knobs.finish()
        return replay(made, text)
    planned = plan(made.work, knobs, target, plans_for(target, "relay"))
    s, operator = te.create_schedule(made.out.op), made.work.operator
    if target.gpu is None:
        place(TE[operator](s, made, planned), made.inputs)
    else:
        TE_GPU[operator](s, made, planned, target)
    return s
