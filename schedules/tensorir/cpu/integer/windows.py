"""How the taps of a depthwise layer fall into windows: of four pixels, of bfloat16 two, or one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm_mobilenet.schedules.tensorir.cpu.integer.borders import columns_of, rows_of
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import Instructions, broadcast
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import Registers, Shape, dwords

from tvm_mobilenet.operators.workload import Workload

TILE = 4
"""Output pixels of a tile that lie side by side, where a row has as many."""

_PAIR = 2
"""Neighbours that share a window: four copies of 5 x 5 taps would be 40 registers, and spill."""

_DWORD_BITS = 32


@dataclass(frozen=True, slots=True)
class Windows:
    """How the taps of a row fall into windows.

    Attributes
    ----------
    taps, stride : int
        A row of the filter has so many taps, and moves by so many columns.
    each : int
        Taps of a step, and pixels of a window.
    """

    taps: int
    stride: int
    each: int

    @classmethod
    def of(cls, work: Workload) -> Windows:
        """Return those of a layer."""
        return cls(work.kernel[1], work.strides[1], work.tap_step)

    @property
    def steps(self) -> int:
        """Steps that the taps of a row take."""
        return -(-self.taps // self.each)

    def kept(self, pixel: int, step: int) -> tuple[int, ...]:
        """Return which pixels of an output pixel's window its taps multiply; others see zeros."""
        begin = self.each * step - self.shift(pixel)
        return tuple(i for i in range(self.each) if 0 <= begin + i < self.taps)

    def shift(self, pixel: int) -> int:
        """Return how far the taps of an output pixel are moved up in its windows."""
        free = self.steps * self.each - self.taps
        return pixel % _PAIR * self.stride if self.stride <= free else 0

    def first(self, pixel: int) -> int:
        """Return the input column, from the tile's first, where its first window begins."""
        return pixel * self.stride - self.shift(pixel)

    def columns(self, out_columns: int) -> int:
        """Return the input columns that windows of some output columns touch."""
        return self.first(out_columns - 1) + self.steps * self.each


def window_shape(work: Workload, out_rows: int) -> Shape:
    """Return the shape of the rows that windows read: rows, columns, 16."""
    width, stride = work.out_size[1], work.strides[1]
    pixels = min(TILE, width)
    columns = (width - pixels) * stride + Windows.of(work).columns(pixels)
    return (rows_of(work, out_rows), max(columns_of(work), columns), 16)


def taps_of(work: Workload, machine: Instructions, weight: Any, block: Any, v: int) -> Registers:
    """Load the taps of every row, once for each shift; weights of nine bits have twice as many."""
    lanes, windows = machine.lanes, Windows.of(work)
    taps = Registers("taps", lanes, "int32" if windows.each > 1 else work.element)
    shifts = {windows.shift(pixel) for pixel in range(TILE)}
    bits = _DWORD_BITS // windows.each
    for row in range(work.passes * work.kernel[0]):
        for step in range(windows.steps):
            at = (block, row, step, v * lanes, 0)
            own = machine.weights(weight, at, lanes)
            for shift in shifts:
                value = _moved(own, bits * shift, lanes)
                if shift and step:
                    below = dwords(weight, (block, row, step - 1, v * lanes, 0), lanes)
                    carried = _carried(below, _DWORD_BITS - bits * shift, lanes)
                    value = tirx.bitwise_or(value, carried)
                taps[row, step, shift] = value
    return taps


def _moved(dword: Any, bits: int, lanes: int) -> Any:
    return tirx.shift_left(dword, broadcast(tirx.const(bits, "int32"), lanes)) if bits else dword


def _carried(dword: Any, bits: int, lanes: int) -> Any:
    unsigned = tirx.reinterpret(f"uint32x{lanes}", dword)
    moved = tirx.shift_right(unsigned, broadcast(tirx.const(bits, "uint32"), lanes))
    return tirx.reinterpret(f"int32x{lanes}", moved)
