"""Rows of (N, C) on a GPU: the loops of :mod:`tvm_mobilenet.schedules.tensorir.gpu.rows`.

Pattern
    ``row`` into ``lane_max`` into ``row_max`` into ``power`` into ``lane_sum`` into ``row_sum``,
    ``scale`` and ``out``, loops "rows". A thread is a lane.

Loop nest, outer to inner
    row over blocks → lane over threads → the lane's classes: their largest goes into shared
    memory, where every thread reads all of them; then their powers, whose sums go the same
    way; then the quotients. The powers are kept in shared memory: each is made of ``let``,
    and TVM 0.19 refuses a ``let`` that occurs twice, as it would after inlining. Where they
    do not fit, each stage is a kernel of its own, and the powers are kept in memory.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.gpu.product_tile import SMALL
from tvm_mobilenet.schedules.plans.rows import GpuRowsPlan
from tvm_mobilenet.schedules.te.definition import Definition, extents
from tvm_mobilenet.schedules.te.gpu.threads import bind

from tvm_mobilenet.machine import ITEM_BYTES, TargetSpec

_STAGES = ("lane_max", "row_max", "power", "lane_sum", "row_sum", "scale")
_ITEM = ITEM_BYTES["float32"]


def schedule_rows(s: Any, made: Definition, _plan: GpuRowsPlan, target: TargetSpec) -> None:
    """Schedule what goes over rows."""
    gpu, row = target.the_gpu, made.stage("row")
    _, blocks, lanes = extents(row.op.axis)
    s[row].compute_inline()
    if _ITEM * (blocks + 2) * lanes > min(gpu.block_shared or gpu.unit_shared, SMALL):
        for name in _STAGES:
            _apart(s[made.stage(name)], lanes)
        _apart(s[made.out], lanes)
        return
    out = s[made.out]
    n, j = out.op.axis
    turn, lane = out.split(j, lanes)
    out.reorder(n, lane, turn)
    bind(out, blockIdx_x=n, threadIdx_x=lane)
    power = made.stage("power")
    s[power].set_scope("shared")
    s[power].compute_at(out, n)
    bind(s[power], threadIdx_x=s[power].op.axis[2])
    for name in ("scale", "row_sum", "row_max"):
        stage = s[made.stage(name)]
        stage.set_scope("local")
        stage.compute_at(out, n)
    for name in ("lane_sum", "lane_max"):
        lane_wise = made.stage(name)
        own = s.cache_write(lane_wise, "local")
        shared = s[lane_wise]
        shared.set_scope("shared")
        shared.compute_at(out, n)
        bind(shared, threadIdx_x=shared.op.axis[1])
        s[own].compute_at(shared, shared.op.axis[1])


def _apart(stage: Any, threads: int) -> None:
    """Make a stage a kernel of its own, a thread an element."""
    block, thread = stage.split(stage.fuse(*stage.op.axis), threads)
    bind(stage, blockIdx_x=block, threadIdx_x=thread)
