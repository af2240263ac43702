"""Maps of which every element is by itself, on a GPU: two maps element by element, moved elements.

Pattern
    ``out(n, o, p, c)``, operators "elements" and "moves".

Loop nest, outer to inner
    (n, channel block, pixel) over blocks and threads → channels, unrolled, and stored as a
    vector. Neighbouring threads take neighbouring vectors.

Registers
    A result and what it is computed of, 12, and addresses.

Traffic
    The maps, in and out, once each. What moves elements asks tables where each comes from: a
    warp's channels are the same ones, its columns neighbours.

Bound
    Memory; at batch 1 the launch. No time has been measured on a GPU.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.gpu.maps import GpuVectorsPlan
from tvm_mobilenet.schedules.tensorir.gpu.pixels import copy_vectors, unroll

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def schedule_vectors(sch: Any, _work: Workload, plan: GpuVectorsPlan, target: TargetSpec) -> None:
    """Schedule an element-wise map, or one of moved elements."""
    out = sch.get_sblock("out")
    store = sch.cache_write(out, 0, "local")
    n, o, p, _ = sch.get_loops(store)
    block, thread = sch.split(sch.fuse(n, o, p), [None, plan.threads])
    sch.bind(block, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    sch.compute_at(out, thread, preserve_unit_loops=True)
    unroll(sch, out, within=2)
    copy_vectors(sch, store, target, within=2)
