"""Two maps element by element.

Pattern
    ``out(n, o, p, c)``, operator "elements".

Loop nest, outer to inner
    (n, channel block, row) on threads → pixels → lanes; a map of one channel has no lanes, and
    its rows are left to LLVM's vectors.

Registers
    A vector of each map.

Bound
    The bandwidth of the level that the maps are in.

What lost
    A channel block as a unit, as a scale has it: two threads then share three of them.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.maps import SharedPlan
from tvm_mobilenet.schedules.tensorir.cpu.micro_kernel import share
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def schedule_elements(
    sch: Any, work: Workload, plan: SharedPlan, _target: TargetSpec
) -> list[Prefetch]:
    """Schedule it, without prefetches: what it reads has just been written."""
    n, o, p, c = sch.get_loops(sch.get_sblock("out"))
    row, _ = sch.split(p, list(work.out_size))
    share(sch, sch.fuse(n, o, row), parallel=plan.parallel)
    if work.out_block > 1:
        sch.vectorize(c)
    return []
