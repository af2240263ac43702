"""Which TE schedule an operator gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import te
from tvm_mobilenet.schedules.cpu.prefetch import Prefetch
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.te.conv import schedule_conv
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.depthwise import schedule_depthwise
from tvm_mobilenet.schedules.te.head import schedule_dense, schedule_pool
from tvm_mobilenet.schedules.te.pointwise import schedule_pointwise
from tvm_mobilenet.schedules.te.prefetch import place
from tvm_mobilenet.schedules.te.scale import schedule_scale
from tvm_mobilenet.schedules.te.separable import schedule_separable
from tvm_mobilenet.schedules.te.softmax import schedule_softmax
from tvm_mobilenet.schedules.te.steps import replay

from tvm_mobilenet.target import TargetSpec

Rule = Callable[[Any, Definition, Knobs, TargetSpec], list[Prefetch]]

TE: dict[str, Rule] = {
    "conv": schedule_conv,
    "dense": schedule_dense,
    "depthwise": schedule_depthwise,
    "pointwise": schedule_pointwise,
    "pool": schedule_pool,
    "scale": schedule_scale,
    "separable": schedule_separable,
    "softmax": schedule_softmax,
}
"""Operator to schedule, for processors."""


def schedule(operator: str, work: Definition, target: TargetSpec, knobs: Knobs) -> Any:
    """Schedule a definition with TE, by our own schedule or by Ansor's recorded steps.

    Parameters
    ----------
    operator : str
        A key of :data:`TE`.
    work : Definition
        Its tensors, and the pixels of an output row.
    target : TargetSpec
    knobs : Knobs
        Answers the schedule's choices; a record's knobs must all be used.

    Returns
    -------
    te.Schedule

    Raises
    ------
    KnobError
        The knobs do not fit the schedule.
    KeyError
        The operator has no TE schedule.
    """
    if (text := knobs.trace()) is not None:
        knobs.finish()
        return replay(work, text)
    rule = TE[operator]
    s = te.create_schedule(work.out.op)
    place(rule(s, work, knobs, target), work.inputs)
    knobs.finish()
    return s
