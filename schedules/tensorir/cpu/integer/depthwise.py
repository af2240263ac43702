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
from tvm_mobilenet.schedules.tensorir.cpu.integer.borders import columns_of, copy_rows, rows_of
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
    scratch,
    units,
)

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import TABLED, Workload

_FOUR = 4
"""Taps of a step, and pixels of a window."""


@dataclass(frozen=True, slots=True)
class Windows:
    """How the taps of a row fall into windows.

    Attributes
    ----------
    taps, stride : int
        Of a row.
    """

    taps: int
    stride: int

    @property
    def fours(self) -> int:
        """Steps that the taps of a row take."""
        return -(-self.taps // _FOUR)

    def shift(self, pixel: int) -> int:
        """Return how far the taps of an output pixel are moved up in its windows."""
        return pixel * self.stride % (self.fours * _FOUR - self.taps + 1)

    def first(self, pixel: int) -> int:
        """Return the input column, from the tile's first, where its first window begins."""
        return pixel * self.stride - self.shift(pixel)

    def columns(self, out_columns: int) -> int:
        """Return the input columns that windows of some output columns touch."""
        return (out_columns - 1) * self.stride + self.fours * _FOUR


def window_shape(work: Workload, out_rows: int) -> Shape:
    """Return the shape of the rows that windows read: rows, columns, 16."""
    columns = Windows(work.kernel[1], work.strides[1]).columns(work.out_size[1])
    return (rows_of(work, out_rows), max(columns_of(work), columns), 16)


class Filter:
    """Filters the rows of one channel block, for a register of its channels at a time."""

    def __init__(self, work: Workload, machine: Instructions, epilogue: Epilogue) -> None:
        self._work, self._machine, self._epilogue = work, machine, epilogue
        self._windows = Windows(work.kernel[1], work.strides[1])

    def write(
        self,
        window: Any,
        weight: Any,
        block: Any,
        tile: tuple[int, int],
        out_rows: int,
        out: Any,
        place: Callable[[Any, Any], list[Any]],
    ) -> None:
        """Write some output rows.

        Parameters
        ----------
        window : Buffer
            Of :func:`window_shape`.
        weight : Buffer
            (Cb, KH, KW / 4, 16, 4).
        tile : tuple of int
            Output pixels of a tile: side by side, and rows.
        place : callable
            From an output row and column to the indices of the first channel.
        """
        pixels, rows = tile
        width = self._work.out_size[1]
        for v in range(self._machine.vectors):
            with ir.sblock("filter"):
                taps = self._taps(weight, block, v)
                with ir.serial(0, -(-width // pixels)) as x, ir.serial(0, out_rows // rows) as y:
                    with ir.sblock("tile"):
                        column = tirx.min(x * pixels, width - pixels)
                        sums = self._summed(window, taps, v, tile, y * rows, column)
                        for row in range(rows):
                            self._epilogue.write(
                                out,
                                block,
                                pixels,
                                lambda pixel, _, row=row, sums=sums: sums[row, pixel],
                                lambda pixel, row=row, y=y, column=column: place(
                                    y * rows + row, column + pixel
                                ),
                                (v,),
                            )

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

    def _summed(
        self, window: Any, taps: Registers, v: int, tile: tuple[int, int], first: Any, column: Any
    ) -> Registers:
        """Return the sums of a tile of output pixels, by row and pixel."""
        machine, windows = self._machine, self._windows
        (pixels, rows), (height, stride) = tile, (self._work.kernel[0], self._work.strides[0])
        sums = Registers("sums", machine.lanes)
        zeros = broadcast(tirx.const(0, "int32"), machine.lanes)
        for row in range(rows):
            for pixel in range(pixels):
                sums[row, pixel] = zeros
        for read in range((rows - 1) * stride + height):
            loaded: dict[int, Any] = {}
            uses = [row for row in range(rows) if 0 <= read - row * stride < height]
            for pixel in range(pixels):
                for four in range(windows.fours):
                    begin = windows.first(pixel) + _FOUR * four
                    if begin not in loaded:
                        at = (first * stride + read, column * windows.stride + begin)
                        loaded[begin] = self._window(window, at, v)
                    for row in uses:
                        tap = taps[read - row * stride, four, windows.shift(pixel)]
                        sums[row, pixel] = machine.step(sums[row, pixel], loaded[begin], tap)
        return sums

    def _window(self, window: Any, at: tuple[Any, Any], v: int) -> Any:
        """Load four pixels, those of a channel side by side."""
        lanes = self._machine.lanes
        # Neighbouring columns are neighbours in memory.
        elements = window.vload([*at, 0], dtype=f"{window.dtype}x64")
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
            window = scratch("window", window_shape(work, rows), work.dtype)
            above = chunk * rows * work.strides[0] - work.padding[0]
            copy_rows(work, data, (image, block), above, rows_of(work, rows), window, ())

            def place(y: Any, x: Any) -> list[Any]:
                return [image, block, (chunk * rows + y) * width + x, 0]

            tile = (plan.pixels, plan.rows)
            filtering.write(window, weight, block, tile, rows, out, place)

    parameters: dict[str, tuple[Shape, str]] = {
        "data": ((work.batch, work.in_blocks, work.in_pixels, 16), work.dtype),
        **filter_parameters(work, work.activation),
        "out": ((work.batch, work.out_blocks, work.out_pixels, 16), work.out_dtype or work.dtype),
    }
    return kernel(work, parameters, body)
