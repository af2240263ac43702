"""First convolution: a thread takes several output blocks of a strip of pixels.

Pattern
    ``padded`` into ``accumulate(n, o, p, c; i, r, q)`` into ``out(n, o, p, c)``,
    operator "conv"; its input is plain (N, I, H, W), a few channels.

Loop nest, outer to inner
    Groups of output blocks over blocks of the grid's second axis; (n, strip, column)
    over its first and over threads → input channel → that channel's window into
    registers → taps → output blocks → rows of the strip → channels of a block.
    All weights of the group are in shared memory, where every thread of a warp reads the same
    vector at the same time. Neighbouring threads take neighbouring columns.

Registers
    rows x blocks x channels of a block sums; (rows - 1) stride + K by K inputs of one
    channel; a vector of weights of each output block; addresses. 4 rows x 4 blocks of 4,
    3 x 3 at stride 2: 64 + 27 + 16 + 36 = 143, of which nvcc takes 129.

Traffic
    Memory: the image once, the map once. From L1 and shared memory a tap reads a vector of
    weights for each output block and, over a strip, 2.25 inputs for 4 rows.

Bound
    In large batches multiply-adds and memory equally: 27 x 32 multiply-adds for 12 bytes
    in and 128 out. At batch 1 the number of units that have work: tiles are as large as
    leaves every unit eight warps. No time has been measured on a GPU.

What lost
    Strips along the row: neighbouring threads would store vectors with gaps between them, so
    half of each sector of 32 bytes.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.gpu.conv import GpuConvPlan
from tvm_mobilenet.schedules.tensorir.gpu.pixels import (
    copy_vectors,
    rows_and_columns,
    stage_vectors,
    unroll,
)

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def schedule_conv(sch: Any, work: Workload, plan: GpuConvPlan, target: TargetSpec) -> None:
    """Schedule a full convolution."""
    store = rows_and_columns(sch, work.out_size[1], "accumulate", "out")
    padded, accumulate = sch.get_sblock("padded"), sch.get_sblock("accumulate")
    out = sch.get_sblock("out")
    n, o, y, x, c = sch.get_loops(store)
    group, block = sch.split(o, [None, plan.blocks])
    strip, row = sch.split(y, [None, plan.rows])
    sch.reorder(group, n, strip, x, block, row, c)
    place, thread = sch.split(sch.fuse(n, strip, x), [None, plan.threads])
    sch.bind(group, "blockIdx.y")
    sch.bind(place, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    sch.compute_at(out, thread, preserve_unit_loops=True)
    sch.compute_at(accumulate, thread, preserve_unit_loops=True)
    sch.set_scope(accumulate, 0, "local")
    _, channel, _, q, *_ = sch.get_loops(accumulate)[3:]
    sch.compute_at(padded, channel, preserve_unit_loops=True)
    sch.set_scope(padded, 0, "local")
    if plan.staged:
        shared = sch.cache_read(accumulate, 1, "shared")
        sch.compute_at(shared, place, preserve_unit_loops=True)
        stage_vectors(sch, shared, target, within=2, threads=plan.threads)
    vectors = sch.cache_read(accumulate, 1, "local")
    sch.compute_at(vectors, q, preserve_unit_loops=True)
    unroll(sch, accumulate, within=4 + (not plan.unrolled))
    unroll(sch, padded, within=5)
    copy_vectors(sch, vectors, target, within=7)
    unroll(sch, out, within=3)
    copy_vectors(sch, store, target, within=3)
