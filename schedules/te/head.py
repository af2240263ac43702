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
from tvm_mobilenet.schedules.cpu.threads import ELEMENT
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.te.definition import Definition, extents
from tvm_mobilenet.schedules.te.micro_kernel import keep_in_registers, share

from tvm_mobilenet.target import TargetSpec


def schedule_pool(s: Any, work: Definition, knobs: Knobs, target: TargetSpec) -> list[Prefetch]:
    """Schedule a global average pool.

    Parameters
    ----------
    s : te.Schedule
    work : Definition
    knobs : Knobs
        ``threads``: all or one.
    target : TargetSpec

    Returns
    -------
    list of Prefetch
        None: there is one long stream.
    """
    accumulate = work.stage("accumulate")
    batch, blocks, _, lanes = extents(work.out.op.axis)
    (pixels,) = extents(accumulate.op.reduce_axis)
    out, acc = s[work.out], s[accumulate]
    n, o, z, c = out.op.axis
    units = out.fuse(n, o)
    acc.compute_at(out, z)
    image, block, one, tile_lanes = acc.op.axis
    keep_in_registers(acc, [image, block, one], acc.op.reduce_axis, [], tile_lanes)
    out.vectorize(c)
    share(out, units, batch * blocks, ELEMENT * batch * blocks * lanes * pixels, knobs, target)
    return []


def schedule_dense(s: Any, work: Definition, knobs: Knobs, target: TargetSpec) -> list[Prefetch]:
    """Schedule a classifier.

    Parameters
    ----------
    s : te.Schedule
    work : Definition
    knobs : Knobs
        ``images``: images that share a pass over the weights; ``threads``: all or one.
    target : TargetSpec

    Returns
    -------
    list of Prefetch
        None: there is one long stream.
    """
    accumulate = work.stage("accumulate")
    batch, blocks, width = extents(accumulate.op.axis)
    (depth,) = extents(accumulate.op.reduce_axis)
    classes = extents(work.out.op.axis)[1]
    vectors = max(width // target.lanes, 1)
    most = max(min(batch, (target.registers - 4) // vectors), 1)
    options = [images for images in range(1, most + 1) if batch % images == 0]
    images = knobs.choice("images", options, options[-1])

    out, acc = s[work.out], s[accumulate]
    n, j = out.op.axis
    group, image = out.split(n, images)
    o, c = out.split(j, width)
    # Whole vectors, or parts of them, end where the classes end: no predicate on a lane.
    part, lane = out.split(c, math.gcd(classes, target.lanes))
    out.reorder(group, o, image, part, lane)
    units = out.fuse(group, o)
    acc.compute_at(out, units)
    tile_images, block, tile_lanes = acc.op.axis
    outer, inner = acc.split(acc.op.reduce_axis[0], 8 if depth % 8 == 0 else 1)
    keep_in_registers(acc, [block], [outer, inner], [tile_images], tile_lanes)
    out.vectorize(lane)
    share(out, units, batch // images * blocks, batch * blocks * width * depth, knobs, target)
    return []
