"""Global average pool and classifier with TE: as :mod:`tvm_mobilenet.schedules.cpu.head`.

Pool
    (n, channel block) on threads → pixels → lanes.

Dense
    (image group, output block) on threads → reduction → images → lanes of the
    block, which is several vectors wide. Registers: images x vectors of a block
    accumulators, one broadcast; the weights are memory operands.
"""

from __future__ import annotations

import math
from typing import Any

from tvm_mobilenet.schedules.cpu.prefetch import Prefetch
from tvm_mobilenet.schedules.plans.maps import DensePlan, SharedPlan
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.micro_kernel import keep_in_registers, share


def schedule_pool(s: Any, made: Definition, plan: SharedPlan) -> list[Prefetch]:
    """Schedule a global average pool.

    Returns
    -------
    list of Prefetch
        None: there is one long stream.
    """
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
    """Schedule a classifier.

    Returns
    -------
    list of Prefetch
        None: there is one long stream.
    """
    work = made.work
    out, accumulate = s[made.out], s[made.stage("accumulate")]
    n, j = out.op.axis
    group, image = out.split(n, plan.images)
    o, c = out.split(j, work.out_block)
    # Vectors, or parts of them, end where the classes and the block end: no predicate on a lane.
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
