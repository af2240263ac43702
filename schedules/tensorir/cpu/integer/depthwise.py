"""Depthwise layers in integers: windows of four pixels, four taps a step.

Loop nest, outer to inner
    (image, channel block, row chunk) on threads → borders copied → tiles of pixels in a row →
    tiles of rows → input rows of the tile → windows, unrolled. A row leaves when it is whole.

A step
    Four pixels of 16 channels are 64 bytes; one permutation puts the four pixels of each channel
    side by side, and they are multiplied by four taps of a row. Where a row has fewer taps than
    that is a multiple of four, the same window serves the next output pixel as well, with taps
    moved up by the stride (``0 w0 w1 w2`` behind ``w0 w1 w2 0``).

Registers
    Sums of the rows under way, 3 x 4 of 3 x 3 taps, three rows of taps, each twice, and two
    windows: 20 of 32 with AVX-512. Of 5 x 5 taps two output rows, whose 20 taps are kept.

Traffic
    Tiles read the map itself where all that they read is of it. What is beside the border is
    copied with it; small maps are copied whole.

Bound
    ``vpdpbusd`` and the epilogue's multiply-add, which share their ports: 3 + 1 for each 16
    outputs of 3 x 3. Loads and permutations are 12 for 48 of them at stride 1, 36 at stride 2. On
    a Zen 4 (3.7 GHz, one of 512 bits a cycle), in µs of one thread, bound in brackets::

        32 x 112 x 112          35 (27)     64 x 112 x 112, stride 2    24 (14)
        128 x 56 x 56           37 (27)     128 x 56 x 56, stride 2     12 (7)
        512 x 14 x 14           11 (7)      1024 x 7 x 7                 6 (3)
        672 x 14 x 14, 5 x 5    34 (24)     72 x 56 x 56, 5 x 5, s. 2   16 (12)

What lost
    Copying all rows with their borders: 42, 37, 42 and 17 µs for the first four. Four copies of 5 x
    5 taps, one for each pixel of a window: 33 to 40 µs at 672 x 14 x 14, and they spill. Widening
    to 16 bits (XNNPACK's, oneDNN's): 39 to 51 µs for 56 x 56 x 128 on a Zen 5, where this form
    takes 15.7 (shared/lowprec).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.integer.depthwise import FilterPlan
from tvm_mobilenet.schedules.tensorir.cpu.integer.borders import (
    copied_of,
    copy_rows,
    rows_of,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import broadcast
from tvm_mobilenet.schedules.tensorir.cpu.integer.numbers import INTEGERS, Ending, Numbers
from tvm_mobilenet.schedules.tensorir.cpu.integer.windows import (
    Windows,
    taps_of,
    window_shape,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import (
    Registers,
    Shape,
    kernel,
    load,
    scratch,
    units,
)

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

_DIRECT = 16
"""Output columns and rows from which on a map is wide enough to be read where it lies."""

_ALL: tuple[int, ...] = ()
"""Instead of the pixels of a window that are kept: every one."""

Reader = Callable[[Any, Any], Any]
"""From a row and column of the window to its pixels."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the rows of a channel block lie.

    Attributes
    ----------
    data : Buffer
        (N, Cb, H * W, 16).
    image, block : PrimExpr
        They name a plane of the map.
    above : PrimExpr
        The row that the window begins with; -1 is the one above the map.
    """

    data: Any
    image: Any
    block: Any
    above: Any


class Filter:
    """Filters the rows of one channel block, for a register of its channels at a time."""

    def __init__(self, work: Workload, epilogue: Ending) -> None:
        self._work, self._machine, self._epilogue = work, epilogue.machine, epilogue
        self._windows = Windows.of(work)

    def write(  # noqa: PLR0917  from where, how, to where
        self,
        source: Source,
        weight: Any,
        tile: tuple[int, int],
        out_rows: int,
        out: Any,
        place: Callable[[Any, Any], list[Any]],
    ) -> None:
        """Write some output rows.

        Parameters
        ----------
        weight : Buffer
            As :func:`filter_shape` says.
        tile : tuple of int
            Output pixels of a tile: side by side, and rows.
        place : callable
            From an output row and column to the indices of the first channel.
        """
        work, (pixels, rows) = self._work, tile
        block, width = source.block, work.out_size[1]
        read = (rows_of(work, rows), self._windows.columns(pixels))
        copied = copied_of(work, tile, out_rows, read)
        direct = min(width, work.out_size[0]) >= _DIRECT and copied.left < copied.right
        window = scratch("window", window_shape(work, out_rows), work.element)
        copy_rows(
            work,
            source.data,
            (source.image, block),
            source.above,
            rows_of(work, out_rows),
            window,
            (),
            copied if direct else None,
        )
        for v in range(self._machine.vectors):
            with ir.sblock("filter"):
                taps = taps_of(work, self._machine, weight, block, v)
                loops = ir.serial(0, -(-width // pixels)), ir.serial(0, -(-out_rows // rows))
                with loops[0] as x, loops[1] as y, ir.sblock("tile"):
                    # The last tile begins where it ends with the map: the same bytes again.
                    column = tirx.min(x * pixels, width - pixels)
                    first = tirx.min(y * rows, out_rows - rows)

                    def leave(
                        row: int, sums: Registers, v: int = v, first: Any = first, x: Any = column
                    ) -> None:
                        self._epilogue.write(
                            out,
                            block,
                            pixels,
                            lambda pixel, _: sums[row, pixel],
                            lambda pixel: place(first + row, x + pixel),
                            vectors=(v,),
                        )

                    corner = (first * work.strides[0], column * work.strides[1])
                    readers = (self._copy_of(window), self._map_of(source))
                    start = partial(self._epilogue.start, block, v)
                    if not direct:
                        self._tile(readers[0], taps, v, tile, corner, start, leave)
                        continue
                    with ir.If(self._within(source, corner, read)):
                        with ir.Then(), ir.sblock("map"):
                            self._tile(readers[1], taps, v, tile, corner, start, leave)
                        with ir.Else(), ir.sblock("window"):
                            self._tile(readers[0], taps, v, tile, corner, start, leave)

    def _within(self, source: Source, corner: tuple[Any, Any], read: tuple[int, int]) -> Any:
        """Whether all that a tile reads is of the map."""
        (height, width), left = self._work.in_size, self._work.padding[1]
        row, column = source.above + corner[0], corner[1] - left
        return tirx.all(row >= 0, row + read[0] <= height, column >= 0, column + read[1] <= width)

    def _copy_of(self, window: Any) -> Reader:
        return lambda row, column: load(window, (row, column, 0), 16 * self._windows.each)

    def _map_of(self, source: Source) -> Reader:
        width, left = self._work.in_size[1], self._work.padding[1]

        def read(row: Any, column: Any) -> Any:
            pixel = (source.above + row) * width + column - left
            place = (source.image, source.block, pixel, 0)
            return load(source.data, place, 16 * self._windows.each)

        return read

    def _tile(  # noqa: PLR0917  what is multiplied, where, and what follows
        self,
        read: Reader,
        taps: Registers,
        v: int,
        tile: tuple[int, int],
        corner: tuple[Any, Any],
        start: Callable[[], Any],
        leave: Callable[[int, Registers], None],
    ) -> None:
        """Sum up a tile of output pixels; each of its rows leaves as soon as it is whole."""
        machine, windows = self._machine, self._windows
        (pixels, rows), (height, stride) = tile, (self._work.kernel[0], self._work.strides[0])
        sums = Registers("sums", machine.lanes, machine.sums)
        for line in range((rows - 1) * stride + height):
            loaded: dict[tuple[int, tuple[int, ...]], Any] = {}
            uses = [row for row in range(rows) if 0 <= line - row * stride < height]
            for row in uses:
                if line == row * stride:
                    for pixel in range(pixels):
                        sums[row, pixel] = start()
            for pixel in range(pixels):
                for step in range(windows.steps):
                    at = windows.first(pixel) + windows.each * step
                    seen = (at, windows.kept(pixel, step) if machine.masks else _ALL)
                    if seen not in loaded:
                        if (at, _ALL) not in loaded:
                            elements = read(corner[0] + line, corner[1] + at)
                            loaded[at, _ALL] = self._beside(elements, v)
                        loaded[seen] = self._masked(loaded[at, _ALL], seen[1])
                    for row, first in product(uses, range(0, self._work.passes * height, height)):
                        tap = taps[first + line - row * stride, step, windows.shift(pixel)]
                        sums[row, pixel] = machine.step(sums[row, pixel], loaded[seen], tap)
            for row in uses:
                if line == row * stride + height - 1:
                    leave(row, sums)

    def _masked(self, window: Any, kept: tuple[int, ...]) -> Any:
        """Return a window whose pixels are 0 that no tap multiplies."""
        each = self._windows.each
        if kept in (_ALL, tuple(range(each))):
            return window
        bits = 32 // each
        mask = sum(((1 << bits) - 1) << (bits * i) for i in kept)
        signed = mask - (1 << 32) if mask >> 31 else mask
        return tirx.bitwise_and(window, broadcast(tirx.const(signed, "int32"), self._machine.lanes))

    def _beside(self, elements: Any, v: int) -> Any:
        """Return the pixels of a window of each of a register's channels, side by side."""
        lanes = self._machine.lanes
        order = [16 * p + v * lanes + c for c in range(lanes) for p in range(self._windows.each)]
        chosen = tirx.Shuffle([elements], [tirx.IntImm("int32", i) for i in order])
        return chosen if self._windows.each == 1 else tirx.reinterpret(f"int32x{lanes}", chosen)


def filter_shape(work: Workload) -> Shape:
    """Return the shape of the packed weight: (Cb, passes * KH, KW / step, 16, step)."""
    rows = work.passes * work.kernel[0]
    return (work.in_blocks, rows, Windows.of(work).steps, 16, work.tap_step)


def write_depthwise(
    work: Workload, plan: FilterPlan, target: TargetSpec, numbers: Numbers = INTEGERS
) -> Any:
    """Write a depthwise layer: data, weight, scale, shift, perhaps a table, out."""
    machine = numbers.instructions(target)
    height, width = work.out_size
    rows = height // plan.chunks

    def body(data: Any, weight: Any, out: Any, **others: Any) -> None:
        ending = numbers.epilogue(work, machine, others, math.prod(work.kernel))
        filtering = Filter(work, ending)
        with units(plan.units, parallel=plan.parallel) as unit:
            chunk, block = unit % plan.chunks, unit // plan.chunks % work.out_blocks
            image = unit // (plan.chunks * work.out_blocks)
            above = chunk * rows * work.strides[0] - work.padding[0]

            def place(y: Any, x: Any) -> list[Any]:
                return [image, block, (chunk * rows + y) * width + x, 0]

            source = Source(data, image, block, above)
            filtering.write(source, weight, (plan.pixels, plan.rows), rows, out, place)

    parameters: dict[str, tuple[Shape, str]] = {
        "data": ((work.batch, work.in_blocks, work.in_pixels, 16), work.element),
        **numbers.weights(work, filter_shape(work)),
        "out": ((work.batch, work.out_blocks, work.out_pixels, 16), work.out_element),
    }
    return kernel(work, parameters, body, machine.functions)
