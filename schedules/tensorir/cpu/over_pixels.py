"""What is made of all pixels of a channel.

Pattern
    ``most_parts`` and ``most`` into ``out(n, o, z, c)``, operator "global_max"; ``total_parts``,
    ``total``, ``mean``, ``squares_parts``, ``squares`` and ``scale`` into ``out(n, o, p, c)``,
    operator "instance_norm".

Loop nest, outer to inner
    (n, channel block) on threads → pixels, once, or three times → up to four sums side by side →
    lanes

Registers
    The sums, and one vector of the map.

Bound
    The bandwidth of L1 or L2, where a block of the map stays between its passes.

What lost
    One sum: its additions wait for each other, four cycles each.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.maps import SharedPlan
from tvm_mobilenet.schedules.tensorir.cpu.micro_kernel import keep_in_registers, share
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

_STAGES = ("scale", "squares", "squares_parts", "mean", "total", "total_parts")


def schedule_over_pixels(
    sch: Any, work: Workload, plan: SharedPlan, _target: TargetSpec
) -> list[Prefetch]:
    """Schedule it, without prefetches: what it reads has just been written."""
    out = sch.get_sblock("out")
    n, o, _, c = sch.get_loops(out)
    units = sch.fuse(n, o)
    share(sch, units, parallel=plan.parallel)
    stages = ("most", "most_parts") if work.operator == "global_max" else _STAGES
    for name in stages:
        sch.compute_at(sch.get_sblock(name), units, preserve_unit_loops=True)
    sch.vectorize(c)
    for name in stages:
        block = sch.get_sblock(name)
        if name.endswith("_parts"):
            part, lanes, over = sch.get_loops(block)[-3:]
            keep_in_registers(sch, block, [over], [part], lanes)
        elif name in ("mean", "scale"):
            sch.vectorize(sch.get_loops(block)[-1])
        else:
            _, lanes, over = sch.get_loops(block)[-3:]
            keep_in_registers(sch, block, [over], [], lanes)
    return []
