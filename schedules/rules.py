"""Which schedule a function gets: ordered by operator, None where nobody claims it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm_mobilenet.schedules.cpu.conv import schedule_conv
from tvm_mobilenet.schedules.cpu.depthwise import schedule_depthwise
from tvm_mobilenet.schedules.cpu.head import schedule_dense, schedule_pool
from tvm_mobilenet.schedules.cpu.pointwise import schedule_pointwise
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.target import TargetSpec

OPERATOR = "tvm_mobilenet.operator"
OUT_WIDTH = "tvm_mobilenet.out_width"


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A scheduled function and how it came about.

    Attributes
    ----------
    func : tirx.PrimFunc
    schedule : str
        Name of the schedule, such as ``"cpu.pointwise"``.
    """

    func: Any
    schedule: str


def schedule(func: Any, target: TargetSpec, knobs: Knobs) -> Scheduled | None:
    """Schedule a function, if its operator is one of ours.

    Parameters
    ----------
    func : tirx.PrimFunc
        Unscheduled, carrying its operator as an attribute.
    target : TargetSpec
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
    from tvm import IRModule
    from tvm.s_tir import Schedule

    attrs = func.attrs or {}
    operator = str(attrs.get(OPERATOR, ""))
    sch = Schedule(IRModule({"main": func}))
    if operator == "pointwise":
        schedule_pointwise(sch, knobs, target)
    elif operator == "depthwise":
        schedule_depthwise(sch, knobs, target, int(attrs[OUT_WIDTH]))
    elif operator == "conv":
        schedule_conv(sch, knobs, target, int(attrs[OUT_WIDTH]))
    elif operator == "pool":
        schedule_pool(sch, knobs, target)
    elif operator == "dense":
        schedule_dense(sch, knobs, target)
    else:
        return None
    knobs.finish()
    return Scheduled(sch.mod["main"], f"cpu.{operator}")
