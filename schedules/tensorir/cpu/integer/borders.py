"""Rows of a map with their borders, copied to where every window may read."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import broadcast
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import load, store

from tvm_mobilenet.operators.workload import Workload

_LINE = 64
"""Bytes that are copied at once."""


def rows_of(work: Workload, out_rows: int) -> int:
    """Return the input rows that windows of some output rows touch."""
    return (out_rows - 1) * work.strides[0] + work.kernel[0]


def columns_of(work: Workload) -> int:
    """Return the input columns that windows touch, borders among them."""
    return (work.out_size[1] - 1) * work.strides[1] + work.kernel[1]


def copy_rows(
    work: Workload, data: Any, source: tuple[Any, Any], first: Any, rows: int, into: Any, at: Any
) -> None:
    """Copy input rows, the zero point around them.

    Parameters
    ----------
    data : Buffer
        (N, Cb, H * W, block).
    source : tuple of PrimExpr
        Image and channel block.
    first : PrimExpr
        The first row; -1 is the row above the map.
    into : Buffer
        Its last three axes are rows, columns and the block.
    at : sequence of PrimExpr
        The axes before these.
    """
    (height, width), left, block = work.in_size, work.padding[1], work.in_block
    columns = columns_of(work)
    inside = min(width, columns - left)
    count = min(_LINE // block, inside)
    zeros = broadcast(tirx.const(work.zero_point, work.dtype), block)

    def fill(y: Any, begin: int, end: int) -> None:
        if end > begin:
            with ir.serial(0, end - begin) as x:
                store(into, (*at, y, begin + x, 0), zeros)

    def copy(y: Any, row: Any) -> None:
        fill(y, 0, left)
        with ir.serial(0, -(-inside // count)) as step:
            # The last step begins where it ends with the row, and copies some pixels again.
            x = tirx.min(step * count, inside - count)
            value = load(data, (*source, row * width + x, 0), count * block)
            store(into, (*at, y, left + x, 0), value)
        fill(y, left + inside, columns)

    with ir.serial(0, rows) as y:
        row = first + y
        with ir.If(tirx.all(row >= 0, row < height)):
            with ir.Then():
                copy(y, row)
            with ir.Else():
                fill(y, 0, columns)
