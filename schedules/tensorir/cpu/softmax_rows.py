"""Softmaxes of many rows: scores of attention.

Pattern
    The stage ``power`` of a softmax's definition, operator "softmax_rows", whose loops are
    written anew.

Loop nest, outer to inner
    row on threads → its vectors, three times: their largest; their powers and those powers' sum;
    their quotients

Registers
    A vector of maxima or sums, and those of the exponential: 8. What lanes hold becomes one
    number by halves.

Traffic
    A row, its powers among them, stays in L1 between its three passes.

Bound
    The exponential's arithmetic: some 20 instructions a vector.

What lost
    The loops that classes have (:mod:`~tvm_mobilenet.schedules.tensorir.cpu.rows`), whose
    maxima are found lane by lane: 1.7 ms for 4096 rows of 256 on a busy Zen 5 core.
    To look out for NaN in maxima: a row's sum has it anyway.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.maps import SharedPlan
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import (
    Registers,
    kernel,
    load,
    scratch,
    store,
    units,
)
from tvm_mobilenet.schedules.tensorir.definition import Stages, Value

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def write_softmax_rows(func: Any, work: Workload, plan: SharedPlan, _target: TargetSpec) -> Any:
    """Write it; its exponential is the definition's."""
    stages = Stages(func)
    parameters = {name: (shape, stages.dtypes[name]) for name, shape in stages.inputs.items()}

    def body(data: Any, out: Any) -> None:
        with units(work.batch, parallel=plan.parallel) as row:
            _Row(work, stages, data, out, row).write()

    return kernel(work, parameters, body)


class _Row:
    def __init__(self, work: Workload, stages: Stages, data: Any, out: Any, row: Any) -> None:
        self._stages, self._data, self._out, self._row = stages, data, out, row
        self._width, self._count = work.out_block, work.out_channels
        self._whole, self._rest = divmod(self._count, self._width)

    def write(self) -> None:
        """Write the three passes."""
        width = self._width
        kept, number = Registers("kept", width, "float32"), Registers("row", 1, "float32")
        kept["lanes"] = load(self._data, (self._row, 0), width)

        def larger(first: Any, _double: bool) -> None:
            kept["lanes"] = _larger(kept["lanes"], load(self._data, (self._row, first), width))

        self._each(larger)
        number["top"] = self._one(kept["lanes"], _larger)
        powers = scratch("powers", (self._count,), "float32")
        kept["lanes"] = self._wide(tirx.const(0.0, "float32"))

        def power(first: Any, double: bool) -> None:
            with ir.vectorized(0, width) as c:
                feed: dict[str, Value] = {
                    "row": lambda *_: self._data[self._row, first + c],
                    "row_max": lambda *_: number.buffer("top")[0],
                }
                value = self._stages.value("power", (self._row, 0, c), feed)
                ir.buffer_store(powers, value, [first + c])
            kept["lanes"] = kept["lanes"] + self._once(load(powers, (first,), width), double)

        self._each(power)
        total = self._one(kept["lanes"], lambda a, b: a + b)
        number["scale"] = tirx.const(1.0, "float32") / total

        def quotient(first: Any, _double: bool) -> None:
            value = load(powers, (first,), width) * self._wide(number["scale"])
            store(self._out, (self._row, first), value)

        self._each(quotient)

    def _each(self, step: Any) -> None:
        """Go over a row; the last vector ends with it, and may have elements again."""
        with ir.serial(0, self._whole) as v:
            step(v * self._width, False)
        if self._rest:
            step(self._count - self._width, True)

    def _wide(self, number: Any) -> Any:
        return tirx.Broadcast(number, self._width) if self._width > 1 else number

    def _once(self, value: Any, double: bool) -> Any:
        """Return a vector without the elements that another one has as well."""
        if not double:
            return value
        zeros = tirx.Broadcast(tirx.const(0.0, "float32"), self._width)
        again = self._width - self._rest
        order = [self._width if i < again else i for i in range(self._width)]
        return tirx.Shuffle([value, zeros], [tirx.const(i, "int32") for i in order])

    def _one(self, value: Any, join: Any) -> Any:
        """Return what joins all lanes of a vector, by halves."""
        width, level = self._width, 0
        halves = {}
        while width > 1:
            halves[width] = Registers(f"half{level}", width, "float32")
            halves[width][0] = value
            width, level = width // 2, level + 1
            parts = [load(halves[2 * width].buffer(0), (side * width,), width) for side in (0, 1)]
            value = join(*parts)
        return value


def _larger(a: Any, b: Any) -> Any:
    return tirx.Select(a > b, a, b)
