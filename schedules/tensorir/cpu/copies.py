"""Views that are made tensors: transpositions, heads side by side, windows of tokens.

Pattern
    Operators "copies", "copies_out" and "copies_in", whose loops are written anew.

Loop nest, outer to inner
    The first axes on threads → the other ones → vectors along the axis whose elements lie side by
    side on both ends; or, where these are two axes, squares of vectors of both.

Registers
    A vector; or two squares of them, as a change of layout has.

Bound
    The bandwidth of the level that the tensors are in.

What lost
    Vectors of elements that lie apart, as LLVM gathers them. A plain map between blocks and
    tokens: a block's channels are a vector on both ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.maps import SharedPlan
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import Shape, kernel, store, units
from tvm_mobilenet.schedules.tensorir.cpu.product import at, place
from tvm_mobilenet.schedules.tensorir.cpu.squares import square_side, transposed

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.details import Axis
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import Workload

_UNITS_A_CORE = 4


def write_copies(work: Workload, plan: SharedPlan, target: TargetSpec) -> Any:
    """Write the kernel."""
    facts: Any = OPERATORS[work.operator]
    (layer,), (offset, axes) = facts.layers(work), facts.axes(work)
    parameters = {
        "data": (_lying(layer.in_shape, 0 if facts.reads_plain else work.in_block), "float32"),
        "out": (_lying(layer.out_shape, 0 if facts.writes_plain else work.out_block), "float32"),
    }
    inner, side = _inner(axes, target.lanes)
    outer = [axis for axis in axes if axis not in inner]
    if side == 1 and not outer and len(inner) > 1:
        outer, inner = inner[:1], inner[1:]

    def body(data: Any, out: Any) -> None:
        with _loops(outer, _UNITS_A_CORE * target.cores, parallel=plan.parallel) as (into, to):
            _Inner(data, out, inner, side).write(offset + into, to)

    return kernel(work, parameters, body)


def _lying(shape: Shape, block: int) -> Shape:
    if not block:
        return shape
    n, channels, height, width = shape
    return (n, channels // block, height * width, block)


def _inner(axes: tuple[Axis, ...], lanes: int) -> tuple[list[Axis], int]:
    """Return the axis, or the two axes, whose elements vectors hold; and how many they hold."""
    both = [axis for axis in axes if axis[1] == axis[2] == 1]
    if both:
        (axis,) = both
        return [axis], square_side(lanes, axis[0], axis[0])
    read = [axis for axis in axes if axis[1] == 1]
    written = [axis for axis in axes if axis[2] == 1]
    if read and written:
        side = square_side(lanes, read[0][0], written[0][0])
        return [read[0], written[0]], side
    return [axes[-1]], 1


@contextmanager
def _loops(outer: list[Axis], wanted: int, *, parallel: bool) -> Iterator[tuple[Any, Any]]:
    """Open the outer loops, the first of them as units; yield where they are on both ends."""
    count, shared = 1, 0
    while shared < len(outer) and count < wanted:
        count *= outer[shared][0]
        shared += 1
    with ExitStack() as stack:
        unit = stack.enter_context(units(count, parallel=parallel and count > 1))
        into: Any = 0
        to: Any = 0
        behind = count
        for size, read, written in outer[:shared]:
            behind //= size
            index = unit // behind % size
            into, to = into + index * read, to + index * written
        for size, read, written in outer[shared:]:
            index = stack.enter_context(ir.serial(0, size))
            into, to = into + index * read, to + index * written
        yield into, to


class _Inner:
    def __init__(self, data: Any, out: Any, axes: list[Axis], side: int) -> None:
        self._data, self._out, self._axes, self._side = data, out, axes, side

    def write(self, into: Any, to: Any) -> None:
        """Write what lies behind two places."""
        if len(self._axes) == 1:
            self._line(into, to)
        elif self._side == 1:
            (first, read, written), self._axes = self._axes[0], self._axes[1:]
            with ir.serial(0, first) as i:
                self._line(into + i * read, to + i * written)
        else:
            self._squares(into, to)

    def _line(self, into: Any, to: Any) -> None:
        (size, read, written), side = self._axes[0], self._side
        with ir.serial(0, -(-size // side)) as piece:
            first = tirx.min(piece * side, size - side)
            value = at(self._data, into + first * read, side)
            store(self._out, place(self._out, to + first * written), value)

    def _squares(self, into: Any, to: Any) -> None:
        side = self._side
        (rows, _, down), (columns, apart, _) = self._axes
        with ir.serial(0, -(-rows // side)) as y, ir.serial(0, -(-columns // side)) as x:
            i = tirx.min(y * side, rows - side)
            j = tirx.min(x * side, columns - side)
            square = [at(self._data, into + i + (j + c) * apart, side) for c in range(side)]
            for r, line in enumerate(transposed(square)):
                store(self._out, place(self._out, to + (i + r) * down + j), line)
