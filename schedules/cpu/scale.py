"""One factor a channel: a multiplication for each element that is read and written.

Pattern
    ``out(n, o, p, c)``, operator "scale".

Loop nest, outer to inner
    (n, channel block) on threads → pixels → lanes

Registers
    The factors of a block, and the element.

Bound
    The map, read and written once, from where the depthwise layer left it.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.cpu.micro_kernel import share
from tvm_mobilenet.schedules.cpu.prefetch import Prefetch
from tvm_mobilenet.schedules.plans.maps import SharedPlan

from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.target import TargetSpec


def schedule_scale(
    sch: Any, _work: Workload, plan: SharedPlan, _target: TargetSpec
) -> list[Prefetch]:
    """Schedule a scale.

    Returns
    -------
    list of Prefetch
        None: what it reads has just been written.
    """
    n, o, _, c = sch.get_loops(sch.get_sblock("out"))
    share(sch, sch.fuse(n, o), parallel=plan.parallel)
    sch.vectorize(c)
    return []
