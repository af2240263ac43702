"""Scale with TE: the loops of :mod:`tvm_mobilenet.schedules.tensorir.cpu.scale`."""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.maps import SharedPlan
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.micro_kernel import share
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch


def schedule_scale(s: Any, made: Definition, plan: SharedPlan) -> list[Prefetch]:
    """Schedule a scale, without prefetches: what it reads has just been written."""
    out = s[made.out]
    n, o, p, c = out.op.axis
    units = out.fuse(n, o)
    out.reorder(units, p, c)
    out.vectorize(c)
    share(out, units, parallel=plan.parallel)
    return []
