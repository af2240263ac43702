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

from dataclasses import dataclass
from typing import Any

from tvm_mobilenet.schedules.cpu.micro_kernel import extent, out_width
from tvm_mobilenet.schedules.gpu.pixels import (
    VECTOR_REGISTERS,
    WARPS_OF_A_UNIT,
    block_threads,
    copy_vectors,
    hanging,
    rows_and_columns,
    stage_vectors,
    unroll,
    up_to,
)
from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.target import TargetSpec

STRIPS = (1, 2, 3, 4, 7, 8)
"""Rows of a strip that the schedule offers: V1's and V2's maps have multiples of 7."""

_ADDRESSES = 24
"""Registers beside the tile."""

_SHARE = 0.75
"""Of a thread's registers, what a tile may take by this count."""

_ENOUGH = 36
"""Wavefronts of L1 for a warp's vector of output below which memory is what is waited for."""

_NEAR = 1.25
"""How much more of them a shorter strip may take: it leaves registers to other warps."""

_WAVEFRONTS = 4
"""Of a warp's load of a vector each: 512 bytes, 128 at a time."""


@dataclass(frozen=True, slots=True)
class Window:
    """Sizes of a depthwise layer that decide how it is cut.

    Attributes
    ----------
    maps : int
        N x channel blocks.
    size : tuple of int
        (rows, columns) of the output.
    kernel, strides : tuple of int
        (rows, columns).
    lanes : int
        Channels of a block.
    """

    maps: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    lanes: int

    def inputs(self, rows: int, columns: int) -> tuple[int, int]:
        """Return rows and columns of the padded map that a tile of the output reads."""
        (kh, kw), (sh, sw) = self.kernel, self.strides
        return (rows - 1) * sh + kh, (columns - 1) * sw + kw

    def registers(self, rows: int, columns: int, taps: int) -> int:
        """Return the registers of a thread that holds so many taps."""
        high, wide = self.inputs(rows, columns)
        return (high * wide + taps) * VECTOR_REGISTERS + rows * columns * self.lanes + _ADDRESSES

    def wavefronts(self, rows: int) -> float:
        """Return wavefronts of L1 for a warp's vector of output, strips of so many rows."""
        high, wide = self.inputs(rows, 1)
        strip = high * wide * _WAVEFRONTS + self.kernel[0] * self.kernel[1]
        return strip / rows * hanging(self.size[0], rows)

    def threads(self, rows: int, columns: int) -> int:
        """Return the threads of the whole layer."""
        return self.maps * -(-self.size[0] // rows) * (self.size[1] // columns)


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
    bands = _bands(window, rows, columns, target)
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


def strip_rows(window: Window, target: TargetSpec) -> tuple[int, bool, bool]:
    """Choose the rows of a strip, and what is held in registers.

    Parameters
    ----------
    window : Window
    target : TargetSpec
        With a GPU.

    Returns
    -------
    rows : int
        As few as keep L1 out of the way, of those that fit and leave every unit enough
        warps.
    window, taps : bool
        Whether a thread holds all of them.
    """
    gpu = target.the_gpu
    wanted = gpu.units * min(WARPS_OF_A_UNIT * gpu.warp, gpu.unit_threads)
    budget = _SHARE * gpu.thread_registers
    row, taps = window.kernel[1], window.kernel[0] * window.kernel[1]
    fitting = [
        rows
        for rows in up_to(STRIPS, window.size[0])
        if window.registers(rows, 1, row) <= budget
        and (rows == 1 or window.threads(rows, 1) >= wanted)
    ]
    if not fitting:
        return 1, False, False
    costs = {rows: max(window.wavefronts(rows), _ENOUGH) for rows in fitting}
    rows = min(rows for rows, cost in costs.items() if cost <= _NEAR * min(costs.values()))
    return rows, True, window.registers(rows, 1, taps) <= budget


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


def _bands(window: Window, rows: int, columns: int, target: TargetSpec) -> list[int]:
    """Return how many strips a block may stage: none where nothing fits."""
    gpu = target.the_gpu
    height, width = window.size
    strips = -(-height // rows)

    def fits(count: int) -> bool:
        high, wide = window.inputs(count * rows, width)
        size = high * wide * window.lanes * target.item_bytes
        threads = count * width // columns
        return size <= gpu.block_shared and threads <= min(256, gpu.block_threads)

    return [count for count in (1, 2, 4, 8, 16) if count <= strips and fits(count)]
