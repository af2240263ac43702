"""Rows of (N, C): one at a time, everything in L1.

Pattern
    ``row`` into ``lane_max`` into ``row_max`` into ``power`` into ``lane_sum`` into
    ``row_sum``, ``scale`` and ``out``, loops "rows".

Loop nest, outer to inner
    row on threads → the row's vectors, four times: copied, their largest, their powers with
    the powers' sum, their quotients → lanes

Registers
    A vector of maxima or sums, and those of the exponential: 8.

Traffic
    A row of 1000 classes is 4 KB and stays in L1 between its four passes.

Bound
    None that counts: a softmax of 1000 takes 0.3 µs on one Zen 5 core, a third of an
    empty parallel region. Threads therefore share rows only where there are dozens.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.maps import SharedPlan
from tvm_mobilenet.schedules.tensorir.cpu.micro_kernel import keep_in_registers, peel_tail, share
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def schedule_rows(
    sch: Any, work: Workload, plan: SharedPlan, _target: TargetSpec
) -> list[Prefetch]:
    """Schedule what goes over rows, without prefetches: it has just been written."""
    row, out = sch.get_sblock("row"), sch.get_sblock("out")
    n, j = sch.get_loops(out)
    vectors, lane = sch.split(j, [None, work.out_block])
    share(sch, n, parallel=plan.parallel)
    for name in ("scale", "row_sum", "lane_sum", "power", "row_max", "lane_max", "row"):
        sch.compute_at(sch.get_sblock(name), n, preserve_unit_loops=True)
    row_vectors, row_lanes = sch.get_loops(row)[-2:]
    sch.vectorize(row_lanes)
    peel_tail(sch, row_vectors)
    sch.vectorize(sch.get_loops(sch.get_sblock("power"))[-1])
    for name in ("lane_max", "lane_sum"):
        block = sch.get_sblock(name)
        lane_loop, vector_loop = sch.get_loops(block)[-2:]
        keep_in_registers(sch, block, [vector_loop], [], lane_loop)
    sch.vectorize(lane)
    peel_tail(sch, vectors)
    return []
