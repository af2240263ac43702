"""Global average pool and classifier: little arithmetic, much memory.

Pattern
    ``accumulate(n, o, z, c; p)`` into ``out(n, o, z, c)``, operator "pool";
    ``accumulate(n, o, c; k)`` into ``out(n, j)``, operator "dense".

Loop nest, outer to inner
    Pool: (n, channel block) on threads → pixels → lanes.
    Dense: (image group, output block) on threads → reduction → images → lanes of the
    block, which is several vectors wide.

Registers
    Pool: one accumulator and one input vector.
    Dense: images x vectors of a block accumulators, and one broadcast; the weights are
    memory operands, each used once for an image group. On NEON they are loaded, and a
    vector of inputs for each image.

Traffic
    Pool: the map, once. Dense: the weights once for an image group, 4 MB at 1024 x 1000;
    a block's weights lie in the order in which they are read, so a core sees one stream.

Bound
    Pool: the latency of the additions, 4 µs for a 7 x 7 map of 1024 channels.
    Dense: the weights, from L3 or memory. In wide networks they pass during the
    arithmetic of the layer before (:mod:`tvm_mobilenet.schedules.tensorir.cpu.conv_pool_dense`).

What lost
    Pool: four accumulators would hide the latency; they are not worth their code.
    Dense: one vector a block with eight blocks in flight, eight streams 64 KB apart.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.maps import DensePlan, SharedPlan
from tvm_mobilenet.schedules.tensorir.cpu.micro_kernel import keep_in_registers, share
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def schedule_pool(
    sch: Any, _work: Workload, plan: SharedPlan, _target: TargetSpec
) -> list[Prefetch]:
    """Schedule a global average pool; the hardware prefetches its one stream."""
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
    """Schedule a classifier; the hardware prefetches its one stream."""
    accumulate, out = sch.get_sblock("accumulate"), sch.get_sblock("out")
    n, o, c, k = sch.get_loops(accumulate)
    group, image = sch.split(n, [None, plan.images])
    outer, steps = sch.split(k, [None, plan.inner])
    sch.reorder(group, o, outer, steps, image, c)
    units = sch.fuse(group, o)
    share(sch, units, parallel=plan.parallel)
    sch.reverse_compute_at(out, units, preserve_unit_loops=True)
    keep_in_registers(sch, accumulate, [outer, steps], [image], c, staged=plan.staged)
    sch.vectorize(sch.get_loops(out)[-1])
    return []
