"""Depthwise convolution: a thread takes a strip of pixels, its window held in registers.

Pattern
    ``padded`` into ``accumulate(n, o, p, c; r, q)`` into ``out(n, o, p, c)``,
    operator "depthwise".

Loop nest, outer to inner
    Without staging: (n, channel block, strip, columns) over blocks and threads → the
    window's vectors, loaded once → taps → rows of the strip → channels of a vector.
    Neighbouring threads take neighbouring pixels of a row, a vector of 16 bytes each, so
    that a warp reads and writes whole runs of memory; a strip goes down a column, whose
    rows share all but their first and last inputs.
    With staging: (n, channel block, band of strips) over blocks → the band's padded rows
    into shared memory, a vector a thread → strips and columns over threads → as above.

Registers
    The window, (rows - 1) stride + K by (columns - 1) stride + K vectors of 4 registers;
    the taps likewise, all of them or a row of them at a time; a sum for each channel and
    pixel; addresses. 3 x 3, stride 1, 1 row: 9 + 9 vectors, 4 sums, 24: 100, of which ptxas
    takes 86; 2 rows 116. 5 x 5, 2 rows: 30 + 5 vectors: 172. On CUDA ptxas is told how many
    blocks that leaves on a unit: left alone it fills a unit with threads that a small grid
    does not have, takes 32 registers, and loads three vectors at a time.

Traffic
    Memory: the map in and out, once each. L1, in wavefronts of 128 bytes for a warp's
    vector of output: 45 without a strip (3 x 3, stride 1), 28 with 2 rows, 20 with 4;
    5 x 5: 125, 72. Taps are one wavefront each, since the warp reads the same.

Bound
    Memory bandwidth, 50 wavefronts' time on sm_90; at batch 1, where a map lies in L2, the
    latency of a load and a store, and whether every unit has work. So a strip is as short
    as keeps L1 out of the way, and leaves every unit eight warps. Measured: no GPU here.

What lost
    Staging by default: from shared memory a window takes as many wavefronts as from L1.
    It stays a knob, for machines whose L1 does not keep them.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.cpu.micro_kernel import extent, out_width
from tvm_mobilenet.schedules.gpu.pixels import (
    copy_vectors,
    rows_and_columns,
    stage_vectors,
    unroll,
)
from tvm_mobilenet.schedules.gpu.threads import block_threads, up_to
from tvm_mobilenet.schedules.gpu.window import STRIPS, Window, staged_strips, strip_rows
from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.target import TargetSpec


def schedule_depthwise(sch: Any, knobs: Knobs, target: TargetSpec) -> int:
    """Schedule a depthwise convolution.

    Parameters
    ----------
    sch : s_tir.Schedule
        Over the function of a depthwise workload.
    knobs : Knobs
        ``rows``, ``columns``: pixels of a thread; ``stage``: whether a block's inputs go
        through shared memory; ``threads`` of a block, or, staged, ``strips`` of a band;
        ``window`` and ``taps``: whether all of them are held in registers, or what a row of
        taps needs at a time.
    target : TargetSpec
        With a GPU.

    Returns
    -------
    int
        Registers of a thread that it reckons with.
    """
    window = _window(sch)
    height, width = window.size
    best, *held = strip_rows(window, target)
    rows = knobs.choice("rows", up_to(STRIPS, height), best)
    columns = knobs.choice("columns", [c for c in (1, 2, 4) if width % c == 0], 1)
    place_of = {
        name: knobs.choice(name, ["whole", "row"], "whole" if whole else "row")
        for name, whole in zip(("window", "taps"), held, strict=True)
    }
    bands = staged_strips(window, rows, columns, target)
    stage = knobs.choice("stage", ["none", "shared"] if bands else ["none"], "none")

    store = rows_and_columns(sch, width, "accumulate", "out")
    padded, accumulate = sch.get_sblock("padded"), sch.get_sblock("accumulate")
    n, o, y, x, c = sch.get_loops(store)
    strip, row = sch.split(y, [None, rows])
    place, column = sch.split(x, [None, columns])
    sch.reorder(n, o, strip, place, row, column, c)
    if stage == "shared":
        strips = knobs.choice("strips", bands, bands[-1])
        band, strip = sch.split(strip, [None, strips])
        block = sch.fuse(n, o, band)
        thread = sch.fuse(strip, place)
    else:
        threads = block_threads(knobs, window.threads(rows, columns), target)
        block, thread = sch.split(sch.fuse(n, o, strip, place), [None, threads])
    sch.bind(block, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    out = sch.get_sblock("out")
    sch.compute_at(out, thread, preserve_unit_loops=True)
    sch.compute_at(accumulate, thread, preserve_unit_loops=True)
    sch.set_scope(accumulate, 0, "local")
    read = sch.cache_read(accumulate, 0, "local") if stage == "shared" else padded
    filters = sch.cache_read(accumulate, 1, "local")
    tap_row = sch.get_loops(accumulate)[3]
    for copy, where in ((read, place_of["window"]), (filters, place_of["taps"])):
        loop = thread if where == "whole" else tap_row
        sch.compute_at(copy, loop, preserve_unit_loops=True)
        sch.set_scope(copy, 0, "local")
        copy_vectors(sch, copy, target, within=2 if where == "whole" else 4)
    if stage == "shared":
        sch.compute_at(padded, block, preserve_unit_loops=True)
        sch.set_scope(padded, 0, "shared")
        stage_vectors(sch, padded, target, within=1, threads=extent(sch, thread))
    # Sums begin with zeros at the first tap: unrolled, nothing is asked.
    unroll(sch, accumulate, within=2)
    unroll(sch, out, within=2)
    copy_vectors(sch, store, target, within=2)
    held_taps = (
        window.kernel[0] * window.kernel[1] if place_of["taps"] == "whole" else window.kernel[1]
    )
    return window.registers(rows, columns, held_taps)


def _window(sch: Any) -> Window:
    """Read a layer's sizes off its function."""
    accumulate = sch.get_sblock("accumulate")
    n, o, p, c, r, q = (extent(sch, loop) for loop in sch.get_loops(accumulate))
    width = out_width(sch)
    _, _, rows, columns, _ = (
        int(size) for size in sch.get(sch.get_sblock("padded")).writes[0].source.shape
    )
    size = (p // width, width)
    strides = [
        (have - taps) // (out - 1) if out > 1 else 1
        for have, taps, out in zip((rows, columns), (r, q), size, strict=True)
    ]
    return Window(n * o, size, (r, q), (strides[0], strides[1]), c)
