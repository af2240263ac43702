"""A worker of the tuner's whose pointwise plan has one more knob: what goes wrong."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm_mobilenet.schedules import plans
from tvm_mobilenet.schedules.tensorir import rules

FAULTS = ["none", "unbuildable", "forever", "abort", "far", "beside", "nan", "wrong"]
"""What the knob may be: exceptions while building, an endless loop, an abort, a write far
outside and one next to the output, and output that is no number or another one."""


def install(setattr_: Any = setattr) -> None:
    """Give pointwise kernels the knob ``fault`` in this process."""
    real_plan, real_schedule = plans.PLANS["pointwise"], rules.schedule

    def plan(work: Any, knobs: Any, target: Any) -> Any:
        knobs.choice("fault", FAULTS, "none")
        return real_plan(work, knobs, target)

    def schedule(func: Any, target: Any, knobs: Any) -> Any:
        done = real_schedule(func, target, knobs)
        fault = knobs.chosen.get("fault", "none")
        if fault == "none":
            return done
        if fault == "unbuildable":
            raise ValueError("no code for this")
        return rules.Scheduled(_spoilt(done.func, fault), done.schedule)

    setattr_(plans, "PLANS", {**plans.PLANS, "pointwise": plan})
    setattr_(rules, "schedule", schedule)


def _spoilt(func: Any, fault: str) -> Any:
    out = func.params[-1]
    first = [0] * (len(out.ty.shape) - 1)

    def store(value: float, at: Any) -> Any:
        return tirx.BufferStore(out, tirx.const(value, "float32"), [*first, at])

    after = {
        "forever": lambda: tirx.While(tirx.const(1, "bool"), store(1.0, 0)),
        "abort": lambda: tirx.Evaluate(tirx.call_extern("int32", "abort")),
        "far": lambda: store(1.0, tirx.const(1 << 40, "int64")),
        "beside": lambda: store(1.0, tirx.const(-3, "int64")),
        "nan": lambda: store(float("nan"), 0),
        "wrong": lambda: store(7.0, 0),
    }[fault]()
    return func.with_body(tirx.SeqStmt([func.body, after]))


if __name__ == "__main__":
    from tvm_mobilenet.tuning.worker import main

    install()
    main()
