"""Global average pool and classifier on a GPU: as ``pool`` and ``dense`` of :mod:`schedules.gpu`.

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

from tvm_mobilenet.schedules.gpu.product_knobs import choose_tile
from tvm_mobilenet.schedules.gpu.product_tile import Sizes
from tvm_mobilenet.schedules.gpu.threads import block_threads, loads_at_once, map_threads
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.te.definition import Definition, extents
from tvm_mobilenet.schedules.te.gpu.product import Place, Product
from tvm_mobilenet.schedules.te.gpu.threads import bind, copied

from tvm_mobilenet.target import TargetSpec


def schedule_pool(s: Any, work: Definition, knobs: Knobs, target: TargetSpec) -> None:
    """Schedule a global average pool.

    Parameters
    ----------
    s : te.Schedule
    work : Definition
    knobs : Knobs
        ``threads``: of a map; ``maps`` of a block; where one thread has a map,
        ``channels`` of a block.
    target : TargetSpec
        With a GPU.
    """
    accumulate = work.stage("accumulate")
    batch, blocks, _, lanes = extents(work.out.op.axis)
    (pixels,) = extents(accumulate.op.reduce_axis)
    threads, maps = map_threads(knobs, batch, blocks, pixels, target)
    out = s[work.out]
    n, o, z, c = out.op.axis
    s[accumulate].set_scope("local")
    if threads == 1:
        count = block_threads(knobs, batch * blocks * lanes, target, name="channels")
        block, thread = out.split(out.fuse(n, o, z, c), count)
        bind(out, blockIdx_x=block, threadIdx_x=thread)
        s[accumulate].compute_at(out, thread)
        return

    _, own = s[accumulate].split(s[accumulate].op.reduce_axis[0], threads)
    parts = s.rfactor(accumulate, own)
    sums = s.cache_write(parts, "local")
    vectors = s.cache_read(sums.op.input_tensors[0], "local", [sums])
    group, map_ = out.split(o, maps)
    # An axis of one pixel, of which the first thread has all.
    first, z = out.split(z, nparts=threads)
    out.reorder(n, group, map_, first, z, c)
    block = out.fuse(n, group)
    bind(out, blockIdx_x=block, threadIdx_y=map_, threadIdx_x=first)
    out.vectorize(c)
    s[accumulate].compute_at(out, first)
    s[accumulate].vectorize(s[accumulate].op.axis[3])
    s[parts].set_scope("shared")
    s[parts].compute_at(out, block)
    own, image, own_map, one, part_lanes = s[parts].op.axis
    _, own_map = s[parts].split(own_map, maps)
    s[parts].reorder(image, one, own_map, own, part_lanes)
    bind(s[parts], threadIdx_x=own, threadIdx_y=own_map)
    s[parts].vectorize(part_lanes)
    s[sums].compute_at(s[parts], own)
    stage = s[sums]
    (pixel,) = stage.op.reduce_axis
    turn, pixel = stage.split(pixel, loads_at_once(pixels // threads))
    stage.reorder(*stage.op.axis[:4], turn, pixel, stage.op.axis[4])
    stage.unroll(pixel)
    stage.vectorize(stage.op.axis[4])
    s[vectors].compute_at(stage, turn)
    copied(s[vectors])


def schedule_dense(s: Any, work: Definition, knobs: Knobs, target: TargetSpec) -> None:
    """Schedule a classifier.

    Parameters
    ----------
    s : te.Schedule
    work : Definition
    knobs : Knobs
        Those of :func:`~tvm_mobilenet.schedules.gpu.product_knobs.choose_tile`.
    target : TargetSpec
        With a GPU.
    """
    accumulate = work.stage("accumulate")
    images, classes = extents(work.out.op.axis)
    _, blocks, _, block = (int(size) for size in accumulate.op.input_tensors[0].shape)
    wide = extents(accumulate.op.axis)[2]
    lanes = min(target.lanes, wide)
    vectors = -(-classes // lanes)
    sizes = Sizes(images, vectors, blocks, block, lanes, target.item_bytes, True, wide // lanes)
    # Of a block of three vectors, TE cannot tell which ones two threads take.
    side = wide // lanes
    tile = choose_tile(knobs, sizes, target.the_gpu, 1 if side & (side - 1) else None)

    def sums(stage: Any, axes: Sequence[Any]) -> Place:
        n, o, c = axes
        vector, lane = stage.split(c, lanes)
        stage.reorder(n, o, vector, lane)
        return Place([], n, stage.fuse(o, vector), lane)

    def out(stage: Any, axes: Sequence[Any]) -> Place:
        n, j = axes
        vector, lane = stage.split(j, lanes)
        if images > 1:
            return Place([], n, vector, lane)
        unit, row = stage.split(n, 1)
        return Place([], row, vector, lane, unit)

    Product(sizes, tile, target.the_gpu, sums, out).schedule(s, work.out, accumulate)
