"""Global average pool and classifier: little arithmetic, much memory.

Pool
    (n, channel block) on threads → pixels → lanes; four accumulators would hide
    the add's latency, but a 7 x 7 map of 1024 channels takes 4 µs as it is.

Dense
    (image group, output block) on threads → reduction → images → lanes of the
    block, which is several vectors wide. Registers: images x vectors of a block
    accumulators, one broadcast; the weights are memory operands, each used once
    per image group.

    Bound: the weights, 4 MB at 1024 x 1000, from L3 or memory. The block's
    weights lie in the order they are read, so a core sees one stream.

What lost
    One vector a block with eight blocks in flight: eight streams 64 KB apart.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.cpu.micro_kernel import keep_in_registers, share
from tvm_mobilenet.schedules.cpu.prefetch import Prefetch
from tvm_mobilenet.schedules.plans.maps import DensePlan, SharedPlan

from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.target import TargetSpec


def schedule_pool(
    sch: Any, _work: Workload, plan: SharedPlan, _target: TargetSpec
) -> list[Prefetch]:
    """Schedule a global average pool.

    Returns
    -------
    list of Prefetch
        None: there is one long stream.
    """
    accumulate, out = sch.get_sblock("accumulate"), sch.get_sblock("out")
    n, o, z, c = sch.get_loops(out)
    units = sch.fuse(n, o)
    sch.compute_at(accumulate, z, preserve_unit_loops=True)
    tile_lanes, p = sch.get_loops(accumulate)[-2:]
    share(sch, units, parallel=plan.parallel)
    keep_in_registers(sch, accumulate, [p], [], tile_lanes)
    sch.vectorize(c)
    return []


def schedule_dense(
    sch: Any, _work: Workload, plan: DensePlan, _target: TargetSpec
) -> list[Prefetch]:
    """Schedule a classifier.

    Returns
    -------
    list of Prefetch
        None: there is one long stream.
    """
    accumulate, out = sch.get_sblock("accumulate"), sch.get_sblock("out")
    n, o, c, k = sch.get_loops(accumulate)
    group, image = sch.split(n, [None, plan.images])
    outer, steps = sch.split(k, [None, plan.inner])
    sch.reorder(group, o, outer, steps, image, c)
    units = sch.fuse(group, o)
    share(sch, units, parallel=plan.parallel)
    sch.reverse_compute_at(out, units, preserve_unit_loops=True)
    keep_in_registers(sch, accumulate, [outer, steps], [image], c)
    sch.vectorize(sch.get_loops(out)[-1])
    return []
