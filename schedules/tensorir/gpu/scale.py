"""Scale on a GPU: a thread takes some vectors of 16 bytes, a block's threads apart.

Pattern
    ``out(n, o, p, c)``, operator "scale".

Loop nest, outer to inner
    (n, channel block, pixel) over blocks, vectors of a thread, and threads → channels.
    Neighbouring threads take neighbouring vectors.

Registers
    Two vectors and a result: 12, and addresses, for each vector of a thread.

Traffic
    The map, in and out, once each.

Bound
    Memory; at batch 1 the launch. No time has been measured on a GPU.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.gpu.maps import GpuScalePlan
from tvm_mobilenet.schedules.tensorir.gpu.pixels import copy_vectors, unroll

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def schedule_scale(sch: Any, _work: Workload, plan: GpuScalePlan, target: TargetSpec) -> None:
    """Schedule a scale."""
    out = sch.get_sblock("out")
    store = sch.cache_write(out, 0, "local")
    n, o, p, _ = sch.get_loops(store)
    block, vector, thread = sch.split(sch.fuse(n, o, p), [None, plan.vectors, plan.threads])
    sch.reorder(block, thread, vector)
    sch.bind(block, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    sch.unroll(vector)
    sch.compute_at(out, vector, preserve_unit_loops=True)
    for number in (0, 1):
        read = sch.cache_read(out, number, "local")
        sch.compute_at(read, vector, preserve_unit_loops=True)
        copy_vectors(sch, read, target, within=3)
    unroll(sch, out, within=3)
    copy_vectors(sch, store, target, within=3)
