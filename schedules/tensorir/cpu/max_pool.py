"""The largest element of every window.

Pattern
    Operator "max_pool", whose loops are written anew.

Loop nest, outer to inner
    (n, channel block, group of rows) on threads → rows of the map: the largest of the taps beside
    each other → rows of the output: the largest of the taps above each other → pixels → lanes

Registers
    One vector: its largest so far.

Traffic
    The rows' largest stay in L1 or L2.

Bound
    Instructions: a maximum for each tap of a row and of a column, not of a window.
    Whether there is a NaN at all is asked once a unit, of sums of 0 times each element: only then
    maxima are taken once more so that it stays, by two comparisons and two choices.

What lost
    All taps of a window by comparisons that keep a NaN: 900 us for 5 x 5 at 64 x 56 x 56 on one
    Zen 4 core.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.maps import MaxPoolPlan
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import (
    Registers,
    kernel,
    load,
    scratch,
    store,
    units,
)

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

_Larger = Callable[[Any, Any], Any]

_SUMS = 4
"""Sums of which none waits for another."""


def write_max_pool(work: Workload, plan: MaxPoolPlan, _target: TargetSpec) -> Any:
    """Write the kernel."""
    shapes = [
        (work.batch, work.out_blocks, pixels, work.out_block)
        for pixels in (work.in_pixels, work.out_pixels)
    ]

    def body(data: Any, out: Any) -> None:
        with units(plan.units, parallel=plan.parallel) as unit:
            _Pool(work, plan, data, out).unit(unit)

    return kernel(work, {"data": (shapes[0], "float32"), "out": (shapes[1], "float32")}, body)


class _Pool:
    def __init__(self, work: Workload, plan: MaxPoolPlan, data: Any, out: Any) -> None:
        self._work, self._plan, self._data, self._out = work, plan, data, out
        self._block = work.out_block
        # Of the map, that a unit reads.
        self._rows = (plan.rows - 1) * work.strides[0] + work.kernel[0]

    def unit(self, unit: Any) -> None:
        """Write some rows of a channel block."""
        work, plan = self._work, self._plan
        image, o = unit // (work.out_blocks * plan.chunks), unit // plan.chunks % work.out_blocks
        first = tirx.min(unit % plan.chunks * plan.rows, work.out_size[0] - plan.rows)
        top = first * work.strides[0] - work.padding[0]
        largest = scratch("largest", (self._rows, work.out_size[1], self._block), "float32")
        sums = Registers("nothing", self._block, "float32")
        for step in range(_SUMS):
            sums[step] = self._wide(0.0)
        self._beside((image, o, top), largest, _larger, sums)
        nothing = scratch("nothing", (self._block,), "float32")
        store(nothing, (0,), sum((sums[step] for step in range(1, _SUMS)), sums[0]))
        total = scratch("total", (1,), "float32")
        store(total, (0,), tirx.const(0.0, "float32"))
        with ir.serial(0, self._block) as c:
            store(total, (0,), total[0] + nothing[c])
        # Of infinities it is no number either, which costs time and nothing else.
        with ir.If(total[0] < 1.0):
            with ir.Then():
                self._above((image, o, first), largest, _larger)
            with ir.Else():
                self._beside((image, o, top), largest, _larger_or_none)
                self._above((image, o, first), largest, _larger_or_none)

    def _wide(self, number: float) -> Any:
        value = tirx.const(number, "float32")
        return tirx.Broadcast(value, self._block) if self._block > 1 else value

    def _above(self, place: tuple[Any, Any, Any], largest: Any, larger: _Larger) -> None:
        """Write the output: the largest of the taps above each other."""
        (image, o, first), work = place, self._work
        down, width, rows = work.strides[0], work.out_size[1], work.kernel[0]
        with ir.serial(0, self._plan.rows) as y, ir.serial(0, width) as x:
            taps = [load(largest, (y * down + q, x, 0), self._block) for q in range(rows)]
            store(self._out, (image, o, (first + y) * width + x, 0), _most(taps, larger))

    def _beside(
        self,
        place: tuple[Any, Any, Any],
        largest: Any,
        larger: _Larger,
        sums: Registers | None = None,
    ) -> None:
        """Write the largest of the taps beside each other, of each row from `place` on."""
        (image, o, top), width = place, self._work.out_size[1]
        with ir.serial(0, self._rows) as r:
            row = top + r
            with ir.If(tirx.all(row >= 0, row < self._work.in_size[0])):
                with ir.Then():
                    self._row((image, o, row), largest, r, larger, sums)
                with ir.Else(), ir.serial(0, width) as x:
                    store(largest, (r, x, 0), self._wide(-math.inf))

    def _row(
        self,
        place: tuple[Any, Any, Any],
        largest: Any,
        r: Any,
        larger: _Larger,
        sums: Registers | None,
    ) -> None:
        """Write a row; each of its elements that a window has is added to `sums`, times 0."""
        (image, o, y), work = place, self._work
        taps, stride, left, size = work.kernel[1], work.strides[1], work.padding[1], work.in_size[1]

        def window(x: Any, seen: Sequence[int], step: int, *, alone: bool = True) -> None:
            columns = [y * size + (x * stride - left + q) for q in seen]
            read = [load(self._data, (image, o, column, 0), self._block) for column in columns]
            store(largest, (r, x, 0), _most(read, larger))
            # What the next window begins with, it adds.
            for tap in read if alone else read[:stride]:
                if sums is not None:
                    sums[step] = sums[step] + tap * self._wide(0.0)

        columns = range(work.out_size[1])
        seen = [[q for q in range(taps) if 0 <= x * stride - left + q < size] for x in columns]
        full = [x for x in columns if len(seen[x]) == taps][:-1]
        first, count = (full[0], len(full) // _SUMS * _SUMS) if full else (0, 0)
        for x in (*range(first), *range(first + count, len(seen))):
            window(x, seen[x], x % _SUMS)
        with ir.serial(0, count // _SUMS) as group:
            for step in range(_SUMS):
                window(first + group * _SUMS + step, range(taps), step, alone=False)


def _most(taps: list[Any], larger: _Larger) -> Any:
    found = taps[0]
    for tap in taps[1:]:
        found = larger(tap, found)
    return found


def _larger(a: Any, b: Any) -> Any:
    return tirx.Select(a > b, a, b)


def _larger_or_none(a: Any, b: Any) -> Any:
    # Unordered, and so is the sum. To ask isnan would be a call for each element.
    return tirx.Select(a > b, a, tirx.Select(b >= a, b, a + b))
