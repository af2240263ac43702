"""Products of tensors with each other, matrix by matrix.

Pattern
    Operator "product", whose loops are written anew.

Loop nest, outer to inner
    (matrix, chunk of rows, group of columns) on threads → the group's columns as a panel, where
    they do not lie side by side → tiles of rows → steps, four written out → rows → vectors → lanes

Registers
    As :mod:`~tvm_mobilenet.schedules.tensorir.cpu.linear`; squares of vectors while the panel is
    written.

Traffic
    Operands are read where they lie, heads between each other and transposed: no copy is made
    of them. A panel is depth x vectors x lanes x 4 bytes, and serves all rows of a chunk.

Bound
    Multiply-add throughput; of heads with few channels, what leaves: a score takes as long to
    be written as 16 steps.

What lost
    TVM's own loops behind transposed copies: 13 to 27 times ONNX Runtime's time.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.rows_of_products import RowsPlan
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import (
    kernel,
    load,
    scratch,
    store,
    units,
)
from tvm_mobilenet.schedules.tensorir.cpu.register_tile import product
from tvm_mobilenet.schedules.tensorir.cpu.squares import square_side, transposed

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.details import lanes_of
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import Workload


def write_product(work: Workload, plan: RowsPlan, _target: TargetSpec) -> Any:
    """Write the kernel."""
    layer = _layer(work)
    names = ("data", "other")
    parameters = {
        **{n: (shape, "float32") for n, shape in zip(names, layer.in_shapes, strict=True)},
        "out": (layer.out_shape, "float32"),
    }

    def body(data: Any, other: Any, out: Any) -> None:
        tensors = (other, data) if layer.swapped else (data, other)
        with units(plan.units, parallel=plan.parallel) as unit:
            group, rest = unit % plan.groups, unit // plan.groups
            _Matrix(work, plan, tensors, out).write(rest // plan.chunks, rest % plan.chunks, group)

    return kernel(work, parameters, body)


def _layer(work: Workload) -> Any:
    (layer,) = OPERATORS[work.operator].layers(work)
    return layer


class _Matrix:
    """Some rows of some columns of one of the matrices."""

    def __init__(self, work: Workload, plan: RowsPlan, tensors: tuple[Any, Any], out: Any) -> None:
        layer = _layer(work)
        self._work, self._plan, self._out = work, plan, out
        self._one, self._other = layer.one, layer.other
        self._left, self._right = tensors
        self._stack, self._width = layer.stack, lanes_of(work)
        self._depth, self._columns = layer.one.shape[-1], layer.out_shape[-1]
        self._vectors = -(-self._columns // self._width)

    def write(self, matrix: Any, chunk: Any, number: Any) -> None:
        """Write the tiles of a chunk of rows and a group of columns."""
        plan, tile, width = self._plan, self._plan.tile, self._width
        rows = self._work.out_channels
        group = tirx.min(number * tile.vectors, self._vectors - tile.vectors)
        begins = [tirx.min((group + v) * width, self._columns - width) for v in range(tile.vectors)]
        left, right = (self._begin(view, matrix) for view in (self._one, self._other))
        (down, along), (steps, beside) = _last(self._one), _last(self._other)
        panel: Any = None
        if beside != 1 and width > 1:
            panel = scratch("panel", (tile.vectors, self._depth, width), "float32")
            self._pack(panel, right, begins)

        def columns(v: int, k: Any) -> Any:
            if panel is not None:
                return load(panel, (v, k, 0), width)
            return at(self._right, right + k * steps + begins[v] * beside, width)

        with ir.serial(0, plan.tiles) as step, ir.sblock("tile"):
            first = tirx.min((chunk * plan.tiles + step) * tile.pixels, rows - tile.pixels)
            sums = product(
                tile,
                width,
                self._depth,
                lambda i, k: at(self._left, left + (first + i) * down + k * along, 1),
                columns,
            )
            factor = tirx.const(self._one.factor * self._other.factor, "float32")
            scale = tirx.Broadcast(factor, width) if width > 1 else factor
            for i in range(tile.pixels):
                line = (matrix * rows + first + i) * self._columns
                for v in range(tile.vectors):
                    value = sums[i, v] if factor.value == 1.0 else sums[i, v] * scale
                    store(self._out, place(self._out, line + begins[v]), value)

    def _begin(self, view: Any, matrix: Any) -> Any:
        """Return where a matrix of the stack begins in what an operand lies in."""
        begin: Any = view.offset
        behind = 1
        count = len(self._stack)
        axes = [steps[0] for steps in view.axes[:-2]]
        axes = [(1, 0)] * (count - len(axes)) + axes
        for size, (own, stride) in reversed([*zip(self._stack, axes, strict=True)]):
            if own > 1 and stride:
                begin = begin + matrix // behind % size * stride
            behind *= size
        return begin

    def _pack(self, panel: Any, right: Any, begins: list[Any]) -> None:
        """Lay columns side by side, a vector of them for each step."""
        steps, beside = _last(self._other)
        side = square_side(self._width, self._width, self._depth) if steps == 1 else 1
        for v, begin in enumerate(begins):
            if side == 1:
                with ir.serial(0, self._depth) as k, ir.serial(0, self._width) as c:
                    value = at(self._right, right + k * steps + (begin + c) * beside, 1)
                    ir.buffer_store(panel, value, [v, k, c])
                continue
            with ir.serial(0, -(-self._depth // side)) as piece:
                k = tirx.min(piece * side, self._depth - side)
                for c in range(0, self._width, side):
                    rows = [
                        at(self._right, right + (begin + c + i) * beside + k, side)
                        for i in range(side)
                    ]
                    for i, row in enumerate(transposed(rows)):
                        store(panel, (v, k + i, c), row)


def _last(view: Any) -> tuple[int, int]:
    """Return how far apart rows and columns lie."""
    rows, columns = view.axes[-2:]
    return int(rows[0][1]), int(columns[0][1])


def place(buffer: Any, flat: Any) -> list[Any]:
    """Return the indices of an element of a buffer by its number: it lies in one piece."""
    return [0] * (len(buffer.shape) - 1) + [flat]


def at(buffer: Any, flat: Any, lanes: int) -> Any:
    """Load neighbours by the number of the first."""
    return load(buffer, place(buffer, flat), lanes)
