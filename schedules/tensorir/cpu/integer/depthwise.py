"""Depthwise layers in integers: windows of four pixels, four taps a step.

Loop nest, outer to inner
    (image, channel block, row chunk) on threads → rows copied with their borders → tiles of
    pixels in a row → tiles of rows → input rows of the tile → windows, unrolled.

A step
    Four pixels of 16 channels are 64 bytes; one permutation puts the four pixels of each channel
    side by side, and they are multiplied by four taps of a row. Where a row has fewer taps than
    that is a multiple of four, the same window serves the next output pixel as well, with taps
    moved up by one (``0 w0 w1 w2`` behind ``w0 w1 w2 0``).

Registers
    4 x 4 sums, three rows of taps, each twice, and two windows: 24 of 32 with AVX-512.

Bound
    ``vpdpbusd``: 3 for each 16 outputs of 3 x 3 (9 of 12 products count). Loads and permutations
    are 12 for 48 of them at stride 1, 36 at stride 2.

What lost
    Widening to 16 bits (XNNPACK's, oneDNN's): 39 to 51 µs for 56 x 56 x 128 on a Zen 5, where
    this form takes 15.7 (shared/lowprec).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.integer.depthwise import FilterPlan
from tvm_mobilenet.schedules.tensorir.cpu.integer.borders import (
    columns_of,
    copied_of,
    copy_rows,
    rows_of,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.epilogue import Epilogue
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import (
    Instructions,
    broadcast,
    instructions_of,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import (
    Registers,
    Shape,
    dwords,
    kernel,
    load,
    scratch,
    units,
)

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import TABLED, Workload

_FOUR = 4
"""Taps of a step, and pixels of a window."""

_PAIR = 2
"""Neighbours that share a window: four copies of 5 x 5 taps would be 40 registers, and spill."""

_DIRECT = 16
"""Output columns and rows from which on a map is wide enough to be read where it lies."""

Reader = Callable[[Any, Any], Any]
"""From a row and column of the window to four pixels."""


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


@dataclass(frozen=True, slots=True)
class Windows:
    """How the taps of a row fall into windows.

    Attributes
    ----------
    taps, stride : int
        A row of the filter has so many taps, and moves by so many columns.
    """

    taps: int
    stride: int

    @property
    def fours(self) -> int:
        """Steps that the taps of a row take."""
        return -(-self.taps // _FOUR)

    def shift(self, pixel: int) -> int:
        """Return how far the taps of an output pixel are moved up in its windows."""
        free = self.fours * _FOUR - self.taps
        return pixel % _PAIR * self.stride if self.stride <= free else 0

    def first(self, pixel: int) -> int:
        """Return the input column, from the tile's first, where its first window begins."""
        return pixel * self.stride - self.shift(pixel)

    def columns(self, out_columns: int) -> int:
        """Return the input columns that windows of some output columns touch."""
        return self.first(out_columns - 1) + self.fours * _FOUR


def window_shape(work: Workload, out_rows: int) -> Shape:
    """Return the shape of the rows that windows read: rows, columns, 16."""
    width, stride = work.out_size[1], work.strides[1]
    pixels = min(_FOUR, width)
    columns = (width - pixels) * stride + Windows(work.kernel[1], stride).columns(pixels)
    return (rows_of(work, out_rows), max(columns_of(work), columns), 16)


class Filter:
    """Filters the rows of one channel block, for a register of its channels at a time."""

    def __init__(self, work: Workload, machine: Instructions, epilogue: Epilogue) -> None:
        self._work, self._machine, self._epilogue = work, machine, epilogue
        self._windows = Windows(work.kernel[1], work.strides[1])

    def write(  # noqa: PLR0917  what is read, then what is written
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
            (Cb, KH, KW / 4, 16, 4).
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
        window = scratch("window", window_shape(work, out_rows), work.dtype)
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
                taps = self._taps(weight, block, v)
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
                    if not direct:
                        self._tile(readers[0], taps, v, tile, corner, leave)
                        continue
                    with ir.If(self._within(source, corner, read)):
                        with ir.Then(), ir.sblock("map"):
                            self._tile(readers[1], taps, v, tile, corner, leave)
                        with ir.Else(), ir.sblock("window"):
                            self._tile(readers[0], taps, v, tile, corner, leave)

    def _within(self, source: Source, corner: tuple[Any, Any], read: tuple[int, int]) -> Any:
        """Whether all that a tile reads is of the map."""
        (height, width), left = self._work.in_size, self._work.padding[1]
        row, column = source.above + corner[0], corner[1] - left
        return tirx.all(row >= 0, row + read[0] <= height, column >= 0, column + read[1] <= width)

    def _copy_of(self, window: Any) -> Reader:
        return lambda row, column: load(window, (row, column, 0), 16 * _FOUR)

    def _map_of(self, source: Source) -> Reader:
        width, left = self._work.in_size[1], self._work.padding[1]

        def read(row: Any, column: Any) -> Any:
            pixel = (source.above + row) * width + column - left
            return load(source.data, (source.image, source.block, pixel, 0), 16 * _FOUR)

        return read

    def _taps(self, weight: Any, block: Any, v: int) -> Registers:
        """Load the taps of every row, once for each shift."""
        lanes, taps = self._machine.lanes, Registers("taps", self._machine.lanes)
        windows = self._windows
        shifts = {windows.shift(pixel) for pixel in range(_FOUR)}
        for row in range(self._work.kernel[0]):
            for four in range(windows.fours):
                at = (block, row, four, v * lanes, 0)
                own = dwords(weight, at, lanes)
                for shift in shifts:
                    value = _moved(own, 8 * shift, lanes)
                    if shift and four:
                        below = dwords(weight, (block, row, four - 1, v * lanes, 0), lanes)
                        value = tirx.bitwise_or(value, _carried(below, 32 - 8 * shift, lanes))
                    taps[row, four, shift] = value
        return taps

    def _tile(  # noqa: PLR0917  what is read, then where it goes
        self,
        read: Reader,
        taps: Registers,
        v: int,
        tile: tuple[int, int],
        corner: tuple[Any, Any],
        leave: Callable[[int, Registers], None],
    ) -> None:
        """Sum up a tile of output pixels; each of its rows leaves as soon as it is whole."""
        machine, windows = self._machine, self._windows
        (pixels, rows), (height, stride) = tile, (self._work.kernel[0], self._work.strides[0])
        sums = Registers("sums", machine.lanes)
        zeros = broadcast(tirx.const(0, "int32"), machine.lanes)
        for line in range((rows - 1) * stride + height):
            loaded: dict[int, Any] = {}
            uses = [row for row in range(rows) if 0 <= line - row * stride < height]
            for row in uses:
                if line == row * stride:
                    for pixel in range(pixels):
                        sums[row, pixel] = zeros
            for pixel in range(pixels):
                for four in range(windows.fours):
                    at = windows.first(pixel) + _FOUR * four
                    if at not in loaded:
                        elements = read(corner[0] + line, corner[1] + at)
                        loaded[at] = self._beside(elements, v)
                    for row in uses:
                        tap = taps[line - row * stride, four, windows.shift(pixel)]
                        sums[row, pixel] = machine.step(sums[row, pixel], loaded[at], tap)
            for row in uses:
                if line == row * stride + height - 1:
                    leave(row, sums)

    def _beside(self, elements: Any, v: int) -> Any:
        """Return the four pixels of each of a register's channels, side by side."""
        lanes = self._machine.lanes
        order = [16 * p + v * lanes + c for c in range(lanes) for p in range(_FOUR)]
        chosen = tirx.Shuffle([elements], [tirx.IntImm("int32", i) for i in order])
        return tirx.reinterpret(f"int32x{lanes}", chosen)


def _moved(dword: Any, bits: int, lanes: int) -> Any:
    return tirx.shift_left(dword, broadcast(tirx.const(bits, "int32"), lanes)) if bits else dword


def _carried(dword: Any, bits: int, lanes: int) -> Any:
    unsigned = tirx.reinterpret(f"uint32x{lanes}", dword)
    moved = tirx.shift_right(unsigned, broadcast(tirx.const(bits, "uint32"), lanes))
    return tirx.reinterpret(f"int32x{lanes}", moved)


def filter_parameters(
    work: Workload, activation: str, name: str = ""
) -> dict[str, tuple[Shape, str]]:
    """Return the parameters of a depthwise layer."""
    blocks, (rows, columns) = work.in_blocks, work.kernel
    found: dict[str, tuple[Shape, str]] = {
        f"{name}weight": ((blocks, rows, -(-columns // _FOUR), 16, 4), "int8"),
        f"{name}scale": ((blocks, 16), "float32"),
        f"{name}shift": ((blocks, 16), "float32"),
    }
    if activation in TABLED:
        found[f"{name}table"] = ((256,), work.dtype)
    return found


def write_depthwise(work: Workload, plan: FilterPlan, target: TargetSpec) -> Any:
    """Write a depthwise layer: data, weight, scale, shift, perhaps a table, out."""
    machine = instructions_of(target)
    height, width = work.out_size
    rows = height // plan.chunks

    def body(data: Any, weight: Any, out: Any, **others: Any) -> None:
        floats = work.out_dtype == "float32"
        epilogue = Epilogue(work, machine, others, work.limits, floats=floats)
        filtering = Filter(work, machine, epilogue)
        with units(plan.units, parallel=plan.parallel) as unit:
            chunk, block = unit % plan.chunks, unit // plan.chunks % work.out_blocks
            image = unit // (plan.chunks * work.out_blocks)
            above = chunk * rows * work.strides[0] - work.padding[0]

            def place(y: Any, x: Any) -> list[Any]:
                return [image, block, (chunk * rows + y) * width + x, 0]

            source = Source(data, image, block, above)
            filtering.write(source, weight, (plan.pixels, plan.rows), rows, out, place)

    parameters: dict[str, tuple[Shape, str]] = {
        "data": ((work.batch, work.in_blocks, work.in_pixels, 16), work.dtype),
        **filter_parameters(work, work.activation),
        "out": ((work.batch, work.out_blocks, work.out_pixels, 16), work.out_dtype or work.dtype),
    }
    return kernel(work, parameters, body)
