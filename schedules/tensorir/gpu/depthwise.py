"""Depthwise convolution: a thread takes a strip of pixels, its window held in registers.

Pattern
    ``padded`` into ``accumulate(n, o, p, c; r, q)`` into ``out(n, o, p, c)``, operator
    "depthwise"; pools over windows, which have no filters.

Loop nest, outer to inner
    Without staging: (n, channel block, strip, columns) over blocks and threads → the
    window's vectors, loaded once → taps → rows of the strip → channels of a vector.
    Neighbouring threads take neighbouring pixels of a row, a vector of 16 bytes each, so
    that a warp reads and writes whole runs of memory; a strip goes down a column, whose
    rows share all but their first and last inputs.
    Of taps that lie apart a thread has one pixel, and loads what each tap reads.
    With staging: (n, channel block, band of strips) over blocks → the band's padded rows
    into shared memory, a vector a thread → strips and columns over threads → as above.

Registers
    The window, (rows - 1) stride + K by (columns - 1) stride + K vectors of 4 registers;
    the taps in as large vectors, all of them or a row of them at a time; a sum for each channel
    and pixel; addresses. 3 x 3, stride 1, 1 row: 9 + 9 vectors, 4 sums, 24: 100, of which ptxas
    takes 86; 2 rows: 116. 5 x 5, 2 rows: 30 + 5 vectors: 172. On CUDA a launch bound tells ptxas
    how many blocks that leaves on a unit (:mod:`~tvm_mobilenet.schedules.tensorir.gpu.occupancy`).

Traffic
    Memory: the map in and out, once each. L1, in wavefronts of 128 bytes for a warp's
    vector of output: 45 without a strip (3 x 3, stride 1), 28 with 2 rows, 20 with 4; for
    5 x 5 125 without, 72 with 2 rows. A tap is one wavefront, since the whole warp reads it.

Bound
    Memory bandwidth, which on sm_90 takes the time of 50 wavefronts. At batch 1, where a map
    lies in L2, the latency of a load and a store, and whether every unit has work. A strip is
    therefore only so long that L1 is no bottleneck, and leaves every unit eight warps. No time
    has been measured on a GPU.

What lost
    Staging by default: from shared memory a window takes as many wavefronts as from L1.
    It stays a knob for machines whose L1 does not keep the window.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.gpu.depthwise import GpuDepthwisePlan
from tvm_mobilenet.schedules.tensorir.cpu.micro_kernel import extent
from tvm_mobilenet.schedules.tensorir.gpu.pixels import (
    copy_vectors,
    rows_and_columns,
    stage_vectors,
    unroll,
)

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def schedule_depthwise(
    sch: Any, work: Workload, plan: GpuDepthwisePlan, target: TargetSpec
) -> None:
    """Schedule a depthwise convolution."""
    store = rows_and_columns(sch, work.out_size[1], "accumulate", "out")
    padded, accumulate = sch.get_sblock("padded"), sch.get_sblock("accumulate")
    n, o, y, x, c = sch.get_loops(store)
    strip, row = sch.split(y, [None, plan.rows])
    place, column = sch.split(x, [None, plan.columns])
    sch.reorder(n, o, strip, place, row, column, c)
    if plan.strips:
        band, strip = sch.split(strip, [None, plan.strips])
        block = sch.fuse(n, o, band)
        thread = sch.fuse(strip, place)
    else:
        block, thread = sch.split(sch.fuse(n, o, strip, place), [None, plan.threads])
    sch.bind(block, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    out = sch.get_sblock("out")
    sch.compute_at(out, thread, preserve_unit_loops=True)
    sch.compute_at(accumulate, thread, preserve_unit_loops=True)
    sch.set_scope(accumulate, 0, "local")
    read = sch.cache_read(accumulate, 0, "local") if plan.strips else padded
    tap_row, tap = sch.get_loops(accumulate)[3:5]
    copies = [(read, plan.whole_window, tap if plan.window.apart else tap_row)]
    if len(sch.get(accumulate).reads) > 1:
        filters = sch.cache_read(accumulate, 1, "local")
        copies.append((filters, plan.whole_taps, tap_row))
    for copy, whole, near in copies:
        sch.compute_at(copy, thread if whole else near, preserve_unit_loops=True)
        sch.set_scope(copy, 0, "local")
        copy_vectors(sch, copy, target, within=2 if whole else 5 if near is tap else 4)
    if plan.strips:
        sch.compute_at(padded, block, preserve_unit_loops=True)
        sch.set_scope(padded, 0, "shared")
        stage_vectors(sch, padded, target, within=1, threads=extent(sch, thread))
    # Sums begin with zeros at the first tap: unrolled, nothing is asked.
    unroll(sch, accumulate, within=2)
    unroll(sch, out, within=2)
    copy_vectors(sch, store, target, within=2)
