"""Global average pool and classifier on a GPU, as :mod:`schedules.tensorir.gpu` has them.

Pool
    (n, channel block) over blocks and the second axis of threads → every so-many-th pixel, a
    vector of 16 bytes each, on the first axis → partial sums into shared memory (``rfactor``)
    → the first adds up its map's.

Dense
    The loops of :mod:`~tvm_mobilenet.schedules.te.gpu.product`; rows are images. A vector of
    classes is a part of the definition's block of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm_mobilenet.schedules.plans.gpu.maps import GpuPoolPlan
from tvm_mobilenet.schedules.plans.gpu.products import ProductPlan
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.gpu.product import Place, Product
from tvm_mobilenet.schedules.te.gpu.threads import bind, copied

from tvm_mobilenet.machine import TargetSpec


def schedule_pool(s: Any, made: Definition, plan: GpuPoolPlan, _target: TargetSpec) -> None:
    """Schedule a global average pool."""
    accumulate = made.stage("accumulate")
    out = s[made.out]
    n, o, z, c = out.op.axis
    s[accumulate].set_scope("local")
    if plan.threads == 1:
        block, thread = out.split(out.fuse(n, o, z, c), plan.channels)
        bind(out, blockIdx_x=block, threadIdx_x=thread)
        s[accumulate].compute_at(out, thread)
        return

    _, own = s[accumulate].split(s[accumulate].op.reduce_axis[0], plan.threads)
    parts = s.rfactor(accumulate, own)
    sums = s.cache_write(parts, "local")
    vectors = s.cache_read(sums.op.input_tensors[0], "local", [sums])
    group, map_ = out.split(o, plan.maps)
    # An axis of one pixel, of which the first thread has all.
    first, z = out.split(z, nparts=plan.threads)
    out.reorder(n, group, map_, first, z, c)
    block = out.fuse(n, group)
    bind(out, blockIdx_x=block, threadIdx_y=map_, threadIdx_x=first)
    out.vectorize(c)
    s[accumulate].compute_at(out, first)
    s[accumulate].vectorize(s[accumulate].op.axis[3])
    s[parts].set_scope("shared")
    s[parts].compute_at(out, block)
    own, image, own_map, one, part_lanes = s[parts].op.axis
    _, own_map = s[parts].split(own_map, plan.maps)
    s[parts].reorder(image, one, own_map, own, part_lanes)
    bind(s[parts], threadIdx_x=own, threadIdx_y=own_map)
    s[parts].vectorize(part_lanes)
    s[sums].compute_at(s[parts], own)
    stage = s[sums]
    (pixel,) = stage.op.reduce_axis
    turn, pixel = stage.split(pixel, plan.at_once)
    stage.reorder(*stage.op.axis[:4], turn, pixel, stage.op.axis[4])
    stage.unroll(pixel)
    stage.vectorize(stage.op.axis[4])
    s[vectors].compute_at(stage, turn)
    copied(s[vectors])


def schedule_dense(s: Any, made: Definition, plan: ProductPlan, target: TargetSpec) -> None:
    """Schedule a classifier."""
    lanes = plan.sizes.lanes

    def sums(stage: Any, axes: Sequence[Any]) -> Place:
        n, o, c = axes
        vector, lane = stage.split(c, lanes)
        stage.reorder(n, o, vector, lane)
        return Place([], n, stage.fuse(o, vector), lane)

    def out(stage: Any, axes: Sequence[Any]) -> Place:
        n, j = axes
        vector, lane = stage.split(j, lanes)
        if made.work.batch > 1:
            return Place([], n, vector, lane)
        unit, row = stage.split(n, 1)
        return Place([], row, vector, lane, unit)

    product = Product(plan, target.the_gpu, sums, out)
    product.schedule(s, made.out, made.stage("accumulate"))
