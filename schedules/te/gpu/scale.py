"""Scale on a GPU with TE: the loops of :mod:`tvm_mobilenet.schedules.tensorir.gpu.scale`."""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.gpu.maps import GpuScalePlan
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.gpu.threads import bind

from tvm_mobilenet.machine import TargetSpec


def schedule_scale(s: Any, made: Definition, plan: GpuScalePlan, _target: TargetSpec) -> None:
    """Schedule a scale."""
    out = s[made.out]
    n, o, p, c = out.op.axis
    rest, thread = out.split(out.fuse(n, o, p), plan.threads)
    block, vector = out.split(rest, plan.vectors)
    out.reorder(block, thread, vector, c)
    bind(out, blockIdx_x=block, threadIdx_x=thread)
    out.unroll(vector)
    out.vectorize(c)
