"""Last pointwise layer, global pool and classifier in one kernel (``conv_pool_dense``).

Pattern
    ``accumulate(n, o, p, c; k)`` into ``act(n, o, p, c)`` into ``total(n, o, c; p)``
    into ``mean(n, o, c)`` into ``logits(n, j, c; i)`` into ``out(n, j)``, operator
    "tail".

Loop nest, outer to inner
    (n, part of the channels) on threads → vector group → the group's pointwise
    layer, tile by tile of pixels, each added to the group's means in registers →
    class block → channels of the group → lanes of the block

    A group's means are multiplied by their rows of the classifier as soon as
    they are known, and added to the part's own logits. The parts' logits are added
    up at the end, one block of classes after the other.

Registers
    As the pointwise micro-kernel; then the vectors of a class block, 8 of 32.

Traffic
    The activations of the last layer are never stored. Classifier and pointwise
    weights, 4 MB each at 1024 channels and 1000 classes, come from memory at an
    even 19 GB/s during the pointwise layer's arithmetic; a classifier of its own
    waits for its 4 MB. A group's rows of the classifier are contiguous.

Bound
    Multiply-add throughput: 441 µs at 7 x 7 x 1024 and 1000 classes on one Zen 5
    core. Measured 474 alone (93%) and 506 in MobileNet V1 (87%), where the three
    kernels take 602; on two threads 277 instead of 350 (benchmarks/traffic.py).

What lost
    Either of the prefetches alone (582 and 620 µs; 647 with neither). The classifier
    in blocks of classes rather than of channels: eight streams 512 KB apart, all in
    the same sets of L2 (510). Prefetching the rows into L1 as well: +15 µs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm_mobilenet.schedules.plans.conv_pool_dense import ConvPoolDensePlan
from tvm_mobilenet.schedules.tensorir.cpu.micro_kernel import (
    keep_in_registers,
    peel_tail,
    share,
    write_back,
)
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch, next_panel

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.machine.arithmetic import line_items
from tvm_mobilenet.operators.workload import Workload


def schedule_conv_pool_dense(
    sch: Any, work: Workload, plan: ConvPoolDensePlan, _target: TargetSpec
) -> list[Prefetch]:
    """Schedule the end of a classifier."""
    accumulate, act = sch.get_sblock("accumulate"), sch.get_sblock("act")
    total, mean = sch.get_sblock("total"), sch.get_sblock("mean")
    logits, out = sch.get_sblock("logits"), sch.get_sblock("out")

    # Products of one group of channels, their sum over a part's groups, the sum of the parts.
    group, _ = sch.split(
        sch.get_loops(logits)[-1], [plan.parts * plan.groups, plan.tile.vectors * work.out_block]
    )
    update = sch.rfactor(group, 1)
    *_, group = sch.get_loops(logits)
    part, group = sch.split(group, [plan.parts, None])
    partial = sch.rfactor(part, 1)
    n, j, c, part, group = sch.get_loops(partial)
    sch.reorder(n, part, group, j, c)
    units = sch.fuse(n, part)
    sch.compute_at(update, j, preserve_unit_loops=True)
    sch.compute_at(mean, group, preserve_unit_loops=True)
    sch.compute_at(total, group, preserve_unit_loops=True)
    total_block, total_lanes, p = sch.get_loops(total)[-3:]
    tile_loop, pixel = sch.split(p, [None, plan.tile.pixels])
    sch.reorder(tile_loop, pixel, total_block, total_lanes)
    sch.compute_at(act, tile_loop, preserve_unit_loops=True)
    sch.compute_at(accumulate, tile_loop, preserve_unit_loops=True)
    vectors, tile_pixels, tile_lanes, k = sch.get_loops(accumulate)[-4:]
    outer, inner = sch.split(k, [None, plan.inner])
    share(sch, units, parallel=plan.parallel)
    tile = [tile_pixels, vectors]
    staged = plan.tile.staged
    keep_in_registers(sch, accumulate, [outer, inner], tile, tile_lanes, staged=staged)
    _keep_means(sch, act, total, tile_loop)
    peel_tail(sch, tile_loop)

    *_, update_lanes, channel = sch.get_loops(update)
    keep_in_registers(sch, update, [channel], [], update_lanes)
    sch.vectorize(c)
    _write_logits(sch, logits, out, sch.decompose_reduction(partial, group))

    return _prefetches(work, plan, outer, [units, group, tile_loop, outer])


def _prefetches(
    work: Workload, plan: ConvPoolDensePlan, at: Any, loops: Sequence[Any]
) -> list[Prefetch]:
    """Prefetch the next panel, and this group's rows of the classifier."""
    lanes, width = work.out_block, work.class_block
    found = []
    if plan.prefetch in ("weights", "both"):
        found.append(
            next_panel(
                at,
                loops,
                parameter=1,
                depth=work.depth,
                lanes=lanes,
                dtype=work.dtype,
                vectors=plan.tile.vectors,
                steps=(plan.tiles, plan.outer),
                groups=(plan.parts, plan.groups),
            )
        )
    if plan.prefetch in ("classifier", "both"):
        elements = -(-work.classes // width) * plan.tile.vectors * lanes * width
        items = line_items(work.dtype)
        lines = -(-elements // (items * plan.tiles * plan.outer))

        def own_rows(unit: Any, group: Any, tile: Any, step: Any) -> list[tuple[Any, ...]]:
            block = (unit % plan.parts * plan.groups + group) * plan.tile.vectors
            first = (tile * plan.outer + step) * lines
            return [(block, 0, 0, (first + i) * items) for i in range(lines)]

        found.append(Prefetch(at, 3, own_rows, loops))
    return found


def _write_logits(sch: Any, logits: Any, out: Any, zeros: Any) -> None:
    """Begin the parts' logits with zeros; then add them and the bias, a block at a time."""
    sch.vectorize(sch.get_loops(zeros)[-1])
    n, j, c, part = sch.get_loops(logits)
    sch.reorder(n, j, part, c)
    sch.vectorize(c)
    sch.vectorize(sch.get_loops(sch.decompose_reduction(logits, part))[-1])
    sch.reverse_compute_at(out, j, preserve_unit_loops=True)
    sch.vectorize(sch.get_loops(out)[-1])


def _keep_means(sch: Any, act: Any, total: Any, tile_loop: Any) -> None:
    """Keep a group's activations, their sums and their means in registers."""
    *_, block, pixel, lanes = sch.get_loops(act)
    write_back(sch, [block, pixel], lanes)
    *_, pixel, block, lanes = sch.get_loops(total)
    write_back(sch, [pixel, block], lanes)
    *_, block, lanes = sch.get_loops(sch.decompose_reduction(total, tile_loop))
    write_back(sch, [block], lanes)
    mean = sch.get_sblock("mean")
    sch.vectorize(sch.get_loops(mean)[-1])
