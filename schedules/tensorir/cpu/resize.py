"""Maps with more or fewer pixels, linear or cubic.

Pattern
    Operator "resize", whose loops are written anew.

Loop nest, outer to inner
    (n, channel block, group of rows) on threads → row → columns of the map: sums of rows, into a
    scratch of one row → columns of the output: sums of the scratch's → lanes

Registers
    One vector, and the weights of a row, which are the same for all of it.

Traffic
    A row of the scratch stays in L1; rows of the map are read once for each of the output's rows
    made of them, from L1 or L2.

Bound
    Of what enlarges, the bandwidth of the level that the output is written to.

What lost
    The four neighbours of a pixel at once: twice the multiply-adds.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.maps import SharedPlan
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import (
    kernel,
    load,
    scratch,
    store,
    units,
)

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def write_resize(work: Workload, plan: SharedPlan, _target: TargetSpec) -> Any:
    """Write the kernel."""
    (height, width), (out_height, out_width) = work.in_size, work.out_size
    down, right = work.kernel
    n, blocks, block = work.batch, work.in_blocks, work.in_block
    parameters: dict[str, tuple[tuple[int, ...], str]] = {
        "data": ((n, blocks, height * width, block), "float32"),
        "rows": ((out_height, down), "int32"),
        "row_weights": ((out_height, down), "float32"),
        "columns": ((out_width, right), "int32"),
        "column_weights": ((out_width, right), "float32"),
        "out": ((n, blocks, out_height * out_width, block), "float32"),
    }

    def total(taps: int, value: Any, weight: Any) -> Any:
        found = value(0) * weight(0)
        for tap in range(1, taps):
            found += value(tap) * weight(tap)
        return found

    def wide(number: Any) -> Any:
        return tirx.Broadcast(number, block) if block > 1 else number

    def body(**of: Any) -> None:
        data, out = of["data"], of["out"]
        rows, row_weights = of["rows"], of["row_weights"]
        columns, column_weights = of["columns"], of["column_weights"]
        with units(plan.units, parallel=plan.parallel) as unit:
            image, o, y = _place(unit, blocks, out_height)
            row = scratch("row", (width, block), "float32")
            with ir.serial(0, width) as x:
                sums = total(
                    down,
                    lambda tap: load(data, (image, o, rows[y, tap] * width + x, 0), block),
                    lambda tap: wide(row_weights[y, tap]),
                )
                store(row, (x, 0), sums)
            with ir.serial(0, out_width) as x:
                sums = total(
                    right,
                    lambda tap: load(row, (columns[x, tap], 0), block),
                    lambda tap: wide(column_weights[x, tap]),
                )
                store(out, (image, o, y * out_width + x, 0), sums)

    return kernel(work, parameters, body)


def _place(unit: Any, blocks: int, rows: int) -> tuple[Any, Any, Any]:
    """Return image, channel block and row of a unit."""
    return unit // (blocks * rows), unit // rows % blocks, unit % rows
