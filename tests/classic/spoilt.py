"""A worker of the tuner's whose TE pointwise plan has one more knob: what goes wrong."""

from __future__ import annotations

import math
from typing import Any

from tvm import tir
from tvm_mobilenet.schedules import plans

from tvm_mobilenet.emit.relay import kernels

FAULTS = {"none": None, "beside": -3, "behind": 0, "far": 1 << 40}
"""What the knob may be, and where the kernel then writes: before its output, behind it (from its
end on), far outside."""


def install() -> None:
    """Give pointwise kernels the knob ``fault`` in this process."""
    real_plan, real_lowered = plans.TE_PLANS["pointwise"], kernels.lowered

    def plan(work: Any, knobs: Any, target: Any) -> Any:
        knobs.choice("fault", list(FAULTS), "none")
        return real_plan(work, knobs, target)

    def lowered(work: Any, target: Any, knobs: Any) -> Any:
        mod = real_lowered(work, target, knobs)
        place = FAULTS[str(knobs.chosen["fault"])]
        if place is not None:
            mod[work.key] = _spoilt(mod[work.key], place)
        return mod

    plans.TE_PLANS["pointwise"] = plan
    kernels.lowered = lowered


def _spoilt(func: Any, place: int) -> Any:
    out = func.buffer_map[func.params[-1]]
    size = math.prod(int(extent) for extent in out.shape)
    flat = tir.decl_buffer((size,), "float32", data=out.data)
    at = tir.const(place if place < 0 else size + place, "int64")
    return func.with_body(
        tir.SeqStmt([func.body, tir.BufferStore(flat, tir.const(1.0, "float32"), [at])])
    )


if __name__ == "__main__":
    from tvm_mobilenet.tuning.worker import main

    install()
    main()
