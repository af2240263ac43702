"""Rows of (N, C) with TE: the loops of :mod:`tvm_mobilenet.schedules.tensorir.cpu.rows`.

Pattern
    Stages ``row``, ``lane_max``, ``row_max``, ``power``, ``lane_sum``, ``row_sum``,
    ``scale`` and ``out``, loops "rows".

Loop nest, outer to inner
    row on threads → the row's vectors, four times: copied, their largest, their powers and
    the powers' sum, their quotients → lanes

Registers
    A vector of maxima or sums, and those of the exponential: 8. The exponential's lets become
    registers in :mod:`tvm_mobilenet.emit.relay.tir_passes`.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.maps import SharedPlan
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.micro_kernel import keep_in_registers, peel_tail, share
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch


def schedule_rows(s: Any, made: Definition, plan: SharedPlan) -> list[Prefetch]:
    """Schedule what goes over rows, without prefetches: it has just been written."""
    classes, lanes = made.work.out_channels, made.work.out_block
    row, power = (made.stage(name) for name in ("row", "power"))
    out = s[made.out]
    n, j = out.op.axis
    vectors, lane = out.split(j, lanes)
    for name in ("scale", "row_sum", "lane_sum", "power", "row_max", "lane_max", "row"):
        s[made.stage(name)].compute_at(out, n)
    s[row].vectorize(row.op.axis[-1])
    s[power].vectorize(power.op.axis[-1])
    for name in ("lane_max", "lane_sum"):
        accumulate = s[made.stage(name)]
        image, tile_lanes = accumulate.op.axis
        keep_in_registers(accumulate, [image], accumulate.op.reduce_axis, [], tile_lanes)
    out.vectorize(lane)
    if classes % lanes:
        peel_tail(s[row], row.op.axis[-2])
        peel_tail(out, vectors)
    share(out, n, parallel=plan.parallel)
    return []
