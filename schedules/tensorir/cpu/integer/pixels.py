"""Rows of an image's colours become rows of pixels, four bytes each, their border around them."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import (
    Instructions,
    broadcast,
    vector,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import load, store

from tvm_mobilenet.operators.workload import Workload

_SIGNS = -0x7F7F7F80
"""The uppermost bit of each byte: other, it makes uint8 of int8, 128 higher."""


def copy_pixels(  # noqa: PLR0917  from where, to where
    work: Workload,
    machine: Instructions,
    data: Any,
    image: Any,
    first: Any,
    rows: int,
    into: Any,
) -> None:
    """Copy rows of an image: a register holds some pixels, and takes one colour after the other.

    Parameters
    ----------
    data : Buffer
        (N, C, H, W), uint8.
    first : PrimExpr
        The first row; -1 is the row above the image.
    into : Buffer
        (1, rows, columns, 4), of the workload's type.
    """
    (height, width), left = work.in_size, work.padding[1]
    columns = int(into.shape[-2])
    inside = left + min(width, columns - left)
    if inside - left < machine.lanes:
        machine = machine.scalar
    lanes = machine.lanes
    border = [tirx.const(element, work.dtype) for element in work.border]

    def fill(y: Any, begin: int, end: int) -> None:
        if end > begin:
            with ir.serial(0, end - begin) as x:
                store(into, (0, y, begin + x, 0), tirx.Shuffle(border, _places(len(border))))

    def colours(y: Any, x: Any) -> Any:
        total = broadcast(tirx.const(_SIGNS if work.dtype == "int8" else 0, "int32"), lanes)
        for channel in range(work.in_channels):
            read = load(data, (image, channel, first + y, x - left), lanes)
            part = tirx.Cast(vector("int32", lanes), read)
            moved = tirx.shift_left(part, broadcast(tirx.const(8 * channel, "int32"), lanes))
            total = tirx.bitwise_xor(total, moved)
        return total

    with ir.serial(0, rows) as y, ir.If(tirx.all(first + y >= 0, first + y < height)):
        with ir.Then():
            fill(y, 0, left)
            with ir.serial(0, -(-(inside - left) // lanes)) as step:
                # The last step begins where it ends with the row, and copies some pixels again.
                x = tirx.min(left + step * lanes, inside - lanes)
                pixels = tirx.reinterpret(f"{work.dtype}x{4 * lanes}", colours(y, x))
                store(into, (0, y, x, 0), pixels)
            fill(y, inside, columns)
        with ir.Else():
            fill(y, 0, columns)


def _places(count: int) -> list[Any]:
    return [tirx.IntImm("int32", at) for at in range(count)]
