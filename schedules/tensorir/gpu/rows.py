"""Rows of (N, C): a block of threads a row, everything in registers and shared memory.

Pattern
    ``row`` into ``lane_max`` into ``row_max`` into ``power`` into ``lane_sum`` into
    ``row_sum``, ``scale`` and ``out``, loops "rows". A thread is a lane: the
    definition's block of classes is the threads of a block.

Loop nest, outer to inner
    row over blocks → lane over threads → the lane's classes: their largest goes into shared
    memory, where the first thread finds the row's; then the sums of the powers in the same
    way; then the quotients. Powers are computed twice instead of kept, so that any number of
    classes fits.

Registers
    16 on sm_75 to 28 on sm_80 (nvcc's report, docs/gpu.md).

Traffic
    The row is read three times and written once.

Bound
    None that counts: 1000 classes are 16 powers a thread, twice 128 numbers of shared
    memory one after the other, and a launch. No time has been measured on a GPU.

What lost, on paper
    A tree of additions, or shuffles: they would save half a microsecond, once a network.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.rows import GpuRowsPlan

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def schedule_rows(sch: Any, work: Workload, _plan: GpuRowsPlan, _target: TargetSpec) -> None:
    """Schedule what goes over rows."""
    row, out = sch.get_sblock("row"), sch.get_sblock("out")
    lanes = work.out_block
    sch.compute_inline(row)
    sch.compute_inline(sch.get_sblock("power"))
    n, j = sch.get_loops(out)
    _, lane = sch.split(j, [None, lanes])
    sch.bind(n, "blockIdx.x")
    sch.bind(lane, "threadIdx.x")
    for name in ("scale", "row_sum", "lane_sum", "row_max", "lane_max"):
        block = sch.get_sblock(name)
        sch.set_scope(block, 0, "shared")
        shared = sch.cache_write(block, 0, "local")
        sch.compute_at(shared, n, preserve_unit_loops=True)
        thread = sch.get_loops(shared)[-1]
        if not name.startswith("lane"):  # what a row has one of is the first thread's
            _, thread = sch.split(thread, [None, lanes])
        sch.bind(thread, "threadIdx.x")
        sch.compute_at(block, thread, preserve_unit_loops=True)
