"""Scale: every channel times a factor of its own, the end of squeeze-and-excite.

Pattern
    ``out(n, o, p, c)``, operator "scale".

Loop nest, outer to inner
    (n, channel block) on threads → pixels → lanes

Registers
    The factors of a block, and one vector of the map.

Traffic
    The map, read and written once, from the level where the depthwise layer left it.

Bound
    The bandwidth of that level. In a storage that was just read, 14 x 14 x 240 takes about
    2 µs on one Zen 5 core, elsewhere 6 (docs/fusion.md).

What lost
    Nothing was built against it. Scaling the projection's weights instead was reckoned to
    gain less than 1.1% of V3-Large and 2.1% of V3-Small on one thread (docs/fusion.md).
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.maps import SharedPlan
from tvm_mobilenet.schedules.tensorir.cpu.micro_kernel import share
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def schedule_scale(
    sch: Any, _work: Workload, plan: SharedPlan, _target: TargetSpec
) -> list[Prefetch]:
    """Schedule a scale, without prefetches: what it reads has just been written."""
    n, o, _, c = sch.get_loops(sch.get_sblock("out"))
    share(sch, sch.fuse(n, o), parallel=plan.parallel)
    sch.vectorize(c)
    return []
