"""From sums to what leaves: requantised, saturated, by a table, added to a map.

Of a pixel's sixteen channels the sums are :attr:`Instructions.vectors` registers. With AVX-512
four pixels leave together: four conversions, ``packssdw`` twice, ``packuswb``, one permutation
that puts pixels in order, one store of 64 bytes; of what is left two, in one store of 32.
Elsewhere LLVM narrows a pixel at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.tensorir.cpu.integer.halves import store_numbers
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import (
    Instructions,
    broadcast,
    intrinsic,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import load, scratch, store

from tvm_mobilenet.machine import RANGES
from tvm_mobilenet.operators.workload import Workload

_CHANNELS = 16


Sums = Callable[[int, int], Any]
"""From a pixel of the tile and one of its registers to sums."""

Place = Callable[[int], Sequence[Any]]
"""From a pixel of the tile to the indices of its first channel."""


class Epilogue:
    """What happens to the sums of one layer.

    Parameters
    ----------
    buffers : dict
        ``scale`` and ``shift`` (Ob, 16); perhaps ``table`` (256,), ``addend`` (3,) and
        ``residual``, of the output's shape.
    limits : tuple of int
        Least and greatest element before the table.
    """

    def __init__(
        self,
        work: Workload,
        machine: Instructions,
        buffers: dict[str, Any],
        limits: tuple[int, int],
        *,
        floats: bool = False,
    ) -> None:
        self._work, self._machine, self._buffers = work, machine, buffers
        self._limits, self._floats = limits, floats
        unsigned = work.dtype == "uint8"
        self._packs, self._tables = machine.packs and unsigned, machine.tables and unsigned

    @property
    def machine(self) -> Instructions:
        """What the sums were added up by."""
        return self._machine

    @property
    def most(self) -> int:
        """No sum overflows: all its products are added to it."""
        return 0

    def carried(self, total: Any, sums: Any) -> Any:
        """Return both together."""
        return total + sums

    def start(self, block: Any, v: int) -> Any:
        """Return what sums begin with: the shift comes later, in one operation with the scale."""
        return broadcast(tirx.const(0, "int32"), self._machine.lanes)

    def write(
        self,
        out: Any,
        block: Any,
        pixels: int,
        sums: Sums,
        place: Place,
        *,
        vectors: Sequence[int] | None = None,
    ) -> None:
        """Write the pixels of a tile, whose 16 channels are a block of the layer's output.

        Parameters
        ----------
        place : callable
            The places of pixels that are packed together must be neighbours.
        vectors : sequence of int, optional
            The registers of each pixel that there are; all by default.
        """
        vectors = range(self._machine.vectors) if vectors is None else vectors
        if self._floats:
            for pixel in range(pixels):
                for v in vectors:
                    *outer, last = place(pixel)
                    value = self._clipped(self._number(block, v, sums(pixel, v)))
                    store_numbers(out, [*outer, last + v * self._machine.lanes], value)
            return
        pixel = 0
        while pixel < pixels:
            count = self._together(pixels - pixel)
            if count:
                self._several(out, block, range(pixel, pixel + count), sums, place)
                pixel += count
            else:
                for v in vectors:
                    self._one(out, block, v, sums(pixel, v), place(pixel))
                pixel += 1

    def _together(self, left: int) -> int:
        """Return how many of the pixels that are left are packed together; 0: there is no pack."""
        if not self._packs or (left == 1 and not self._tables):
            return 0
        return 4 if left >= 4 else min(left, 2)

    def _several(self, out: Any, block: Any, pixels: range, sums: Sums, place: Place) -> None:
        """Write one, two or four pixels; of fewer than four, copies fill the register."""
        ints = [self._integer(block, 0, sums(i, 0), place(i)) for i in pixels]
        ints *= 4 // len(pixels)
        halves = [
            intrinsic("int16x32", "llvm.x86.avx512.packssdw.512", *pair)
            for pair in (ints[:2], ints[2:])
        ]
        packed = intrinsic("uint8x64", "llvm.x86.avx512.packuswb.512", *halves)
        table = self._buffers.get("table")
        if table is not None and self._tables:
            packed, table = looked_up(table, packed), None
        count = len(pixels)
        order = [lane * 16 + p * 4 + j for p in range(count) for lane in range(4) for j in range(4)]
        elements = tirx.Shuffle([packed], [tirx.IntImm("int32", at) for at in order])
        if table is None:
            store(out, place(pixels[0]), elements)
        else:
            look_up_each(table, elements, count * _CHANNELS, out, place(pixels[0]))

    def _one(self, out: Any, block: Any, v: int, sums: Any, place: Sequence[Any]) -> None:
        *outer, last = place
        lanes = self._machine.lanes
        low, high = RANGES[self._work.dtype]
        at = [*outer, last + v * lanes]
        least, most = (broadcast(tirx.const(end, "int32"), lanes) for end in (low, high))
        within = tirx.Max(tirx.Min(self._integer(block, v, sums, at), most), least)
        self.leave(out, at, tirx.Cast(f"{self._work.dtype}x{lanes}", within), lanes)

    def _integer(self, block: Any, v: int, sums: Any, at: Sequence[Any]) -> Any:
        """Return int32, within the limits, or beyond those of the type on the same side."""
        value = self._number(block, v, sums)
        if "residual" in self._buffers:
            value = self._added(value, v, at)
        low, high = self._limits
        own = RANGES[self._work.dtype]
        if (low, high) != own or not self._machine.convert:
            value = self._between(value, low, high)
        return self._machine.rounded(value)

    def _number(self, block: Any, v: int, sums: Any) -> Any:
        lanes = self._machine.lanes
        at = (block, v * lanes)
        scale, shift = (load(self._buffers[name], at, lanes) for name in ("scale", "shift"))
        return self._machine.multiply_add(sums, scale, shift)

    def _added(self, value: Any, v: int, at: Sequence[Any]) -> Any:
        """Add a map's element: what is the first addend is multiplied and shifted first."""
        lanes, addend = self._machine.lanes, self._buffers["addend"]
        first, second, shift = (broadcast(load(addend, (i,), 1), lanes) for i in range(3))
        *outer, last = at
        read = load(self._buffers["residual"], [*outer, last], lanes)
        other = tirx.Cast(f"int32x{lanes}", read)
        pair = (other, value) if self._work.residual_first else (value, other)
        moved = self._machine.multiply_add(pair[0], first, shift)
        return self._machine.multiply_add(pair[1], second, moved)

    def _clipped(self, value: Any) -> Any:
        ends = (end if math.isfinite(end) else None for end in self._work.clips)
        return self._between(value, *ends)

    def _between(self, value: Any, low: float | None, high: float | None) -> Any:
        lanes = self._machine.lanes
        if high is not None:
            value = tirx.Min(value, broadcast(tirx.const(float(high), "float32"), lanes))
        if low is not None:
            value = tirx.Max(value, broadcast(tirx.const(float(low), "float32"), lanes))
        return value

    def leave(self, out: Any, at: Sequence[Any], elements: Any, count: int) -> None:
        """Store elements, each first looked up in the table, if there is one."""
        table = self._buffers.get("table")
        if table is None:
            store(out, at, elements)
        elif self._tables and count == 64:
            store(out, at, looked_up(table, elements))
        else:
            look_up_each(table, elements, count, out, at)


def looked_up(table: Any, elements: Any) -> Any:
    """Return 64 entries of a table of 256 bytes: two permutations of two registers each."""
    quarters = [load(table, (64 * i,), 64) for i in range(4)]
    name = "llvm.x86.avx512.vpermi2var.qi.512"
    low, high = (intrinsic("uint8x64", name, one, elements, two) for one, two in _pairs(quarters))
    middle = broadcast(tirx.const(128, "uint8"), 64)
    return tirx.Select(elements >= middle, high, low)


def look_up_each(table: Any, elements: Any, count: int, out: Any, at: Sequence[Any]) -> None:
    """Store entries of a table, one by one; entry 0 is of the type's least element."""
    dtype = str(out.dtype)
    *outer, last = at
    with ir.sblock("table"):
        kept = scratch("kept", (count,), dtype)
        store(kept, (0,), elements)
        with ir.serial(0, count) as i:
            entry = kept[i].astype("int32") - RANGES[dtype][0]
            ir.buffer_store(out, table[entry], [*outer, last + i])


def _pairs(quarters: Sequence[Any]) -> list[Sequence[Any]]:
    return [quarters[:2], quarters[2:]]
