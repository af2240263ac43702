"""Convolution on blocks on a GPU: a thread takes several output blocks of a strip of pixels.

Pattern
    ``padded`` into ``accumulate(n, o, y, a, x, b, c; r, q, k)`` into ``out``, of the same
    axes without the reduction (``by_rows``), then stored: operators "conv_blocked" and
    "conv_transpose", of which y and x are steps by the strides, a and b phases in them.

Loop nest, outer to inner
    Groups of output blocks over the grid's second axis; (n, strip, column) over its first and
    over threads → phases → taps → vectors of input channels → channels of a vector → rows of
    the strip → output blocks → channels of a block.
    Neighbouring threads take neighbouring columns, so that a warp reads and writes whole runs
    of memory and all of it the same weights.

Registers
    rows x blocks x channels of a block sums; an input vector for each row; a vector of weights
    of each output block; addresses. 4 rows x 4 blocks of 4: 64 + 32 + 40 = 136.

Traffic
    Of 4 x 4 tiles, for a vector of input channels of a tap: 16 wavefronts of L1 of inputs
    and 16 of weights, for 256 multiply-adds of a warp, which take 64 clocks. A phase reads
    its inputs again.

Groups
    Where they end inside of a block, each lane reads its own channel; the output blocks of a
    thread belong to one group.

Bound
    Multiply-adds in large batches; at batch 1 the number of units that have work. No time has
    been measured on a GPU.

What lost, on paper
    Shared memory: weights are one wavefront for a warp from L1 as well, and the taps of an
    input lie in L1 between them. Zeros for taps that a phase lacks: 0 times infinity is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm_mobilenet.schedules.plans.gpu.conv_blocked import GpuConvBlockedPlan
from tvm_mobilenet.schedules.tensorir.cpu.conv_blocked import shorter_taps
from tvm_mobilenet.schedules.tensorir.cpu.lengths import Length
from tvm_mobilenet.schedules.tensorir.gpu.pixels import copy_vectors, unroll

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.groups import repeats
from tvm_mobilenet.operators.workload import Workload


def schedule_conv_blocked(
    sch: Any, work: Workload, plan: GpuConvBlockedPlan, target: TargetSpec
) -> Sequence[Length]:
    """Schedule a convolution on blocks, or a transposed one, each phase over its own taps."""
    store, out, accumulate, padded = map(sch.get_sblock, ("store", "out", "accumulate", "padded"))
    n, o, y, row_phase, x, phase, c = sch.get_loops(store)
    group, block = sch.split(o, [None, plan.blocks])
    strip, row = sch.split(y, [None, plan.rows])
    sch.reorder(group, n, strip, x, row_phase, phase, block, row, c)
    place, thread = sch.split(sch.fuse(n, strip, x), [None, plan.threads])
    sch.bind(group, "blockIdx.y")
    sch.bind(place, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    sch.compute_at(out, phase, preserve_unit_loops=True)
    sch.compute_at(accumulate, phase, preserve_unit_loops=True)
    sch.set_scope(accumulate, 0, "local")
    own, rows, _, _, _, lanes, r, q, k = sch.get_loops(accumulate)[-9:]
    outer, inner = sch.split(k, [None, plan.inner])
    sch.reorder(r, q, outer, inner, rows, own, lanes)
    if plan.vectors:
        sch.compute_at(padded, outer, preserve_unit_loops=True)
        sch.set_scope(padded, 0, "local")
        within = len(sch.get_loops(padded)) - 5
        if repeats(work):
            unroll(sch, padded, within)
        else:
            copy_vectors(sch, padded, target, within)
    else:
        sch.compute_inline(padded)
    vectors = sch.cache_read(accumulate, 1, "local")
    sch.compute_at(vectors, inner, preserve_unit_loops=True)
    copy_vectors(sch, vectors, target, len(sch.get_loops(vectors)) - 3)
    for loop in (inner, rows, own, lanes):
        sch.unroll(loop)
    init = sch.decompose_reduction(accumulate, r)
    unroll(sch, init, len(sch.get_loops(out)) - 7)
    unroll(sch, out, len(sch.get_loops(out)) - 7)
    copy_vectors(sch, store, target, len(sch.get_loops(store)) - 3)
    if work.operator != "conv_transpose":
        return []
    return shorter_taps(work, [(row_phase, r), (phase, q)])
