"""Global average pool and classifier with TE: as :mod:`tvm_mobilenet.schedules.tensorir.cpu.head`.

Pattern
    Stages ``accumulate`` and ``out`` of operators "pool" and "dense".

Loop nest, registers, traffic
    Those of the main stack. Only the classifier's output differs: it is stored in vectors, or
    parts of them, that end where the classes end, because TE would put a predicate on every
    lane.
"""

from __future__ import annotations

import math
from typing import Any

from tvm_mobilenet.schedules.plans.maps import DensePlan, SharedPlan
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.micro_kernel import keep_in_registers, share
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch


def schedule_pool(s: Any, made: Definition, plan: SharedPlan) -> list[Prefetch]:
    """Schedule a global average pool; the hardware prefetches its one stream."""
    out, accumulate = s[made.out], s[made.stage("accumulate")]
    n, o, z, c = out.op.axis
    units = out.fuse(n, o)
    accumulate.compute_at(out, z)
    image, block, one, tile_lanes = accumulate.op.axis
    reduction = accumulate.op.reduce_axis
    keep_in_registers(accumulate, [image, block, one], reduction, [], tile_lanes)
    out.vectorize(c)
    share(out, units, parallel=plan.parallel)
    return []


def schedule_dense(s: Any, made: Definition, plan: DensePlan) -> list[Prefetch]:
    """Schedule a classifier; the hardware prefetches its one stream."""
    work = made.work
    out, accumulate = s[made.out], s[made.stage("accumulate")]
    n, j = out.op.axis
    group, image = out.split(n, plan.images)
    o, c = out.split(j, work.out_block)
    part, lane = out.split(c, math.gcd(work.out_channels, work.out_block, plan.lanes))
    out.reorder(group, o, image, part, lane)
    units = out.fuse(group, o)
    accumulate.compute_at(out, units)
    tile_images, block, tile_lanes = accumulate.op.axis
    outer, inner = accumulate.split(accumulate.op.reduce_axis[0], plan.inner)
    keep_in_registers(accumulate, [block], [outer, inner], [tile_images], tile_lanes)
    out.vectorize(lane)
    share(out, units, parallel=plan.parallel)
    return []
