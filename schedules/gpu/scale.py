"""One factor a channel: a thread takes vectors of 16 bytes, apart by a block's threads.

Pattern
    ``out(n, o, p, c)``, operator "scale".

Loop nest, outer to inner
    (n, channel block, pixel) over blocks, vectors of a thread, and threads → channels.
    Neighbouring threads take neighbouring vectors.

Registers
    Two vectors and a result: 12, and addresses, for each vector of a thread.

Bound
    Memory, the map in and out; at batch 1 a launch. Measured: no GPU here.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.cpu.micro_kernel import extent
from tvm_mobilenet.schedules.gpu.pixels import copy_vectors, unroll
from tvm_mobilenet.schedules.gpu.threads import VECTOR_REGISTERS, block_threads
from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.target import TargetSpec

_ADDRESSES = 24


def schedule_scale(sch: Any, knobs: Knobs, target: TargetSpec) -> int:
    """Schedule a scale.

    Parameters
    ----------
    sch : s_tir.Schedule
        Over the function of a scale workload.
    knobs : Knobs
        ``threads`` of a block; ``vectors`` of a thread.
    target : TargetSpec
        With a GPU.

    Returns
    -------
    int
        Registers of a thread that it reckons with.
    """
    out = sch.get_sblock("out")
    store = sch.cache_write(out, 0, "local")
    n, o, p, _ = sch.get_loops(store)
    total = extent(sch, n) * extent(sch, o) * extent(sch, p)
    vectors = knobs.choice("vectors", [1, 2, 4], 1)
    threads = block_threads(knobs, -(-total // vectors), target)
    block, vector, thread = sch.split(sch.fuse(n, o, p), [None, vectors, threads])
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
    return vectors * (2 * VECTOR_REGISTERS + target.lanes) + _ADDRESSES
