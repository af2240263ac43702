"""Rows of a map with their borders, copied to where every window may read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import broadcast
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import load, store

from tvm_mobilenet.machine import ITEM_BYTES
from tvm_mobilenet.operators.workload import Workload

_LINE = 64
"""Bytes that are copied at once."""


def rows_of(work: Workload, out_rows: int) -> int:
    """Return the input rows that windows of some output rows touch."""
    return (out_rows - 1) * work.strides[0] + work.kernel[0]


def columns_of(work: Workload) -> int:
    """Return the input columns that windows touch, borders among them."""
    return (work.out_size[1] - 1) * work.strides[1] + work.kernel[1]


@dataclass(frozen=True, slots=True)
class Copied:
    """What of a window is copied: borders, and what tiles that touch them read besides.

    Attributes
    ----------
    above, below : int
        Rows are copied whole that are before the first where the window begins above the map,
        and those from the second on where it ends below.
    left, right : int
        In all other rows columns before the first and from the second on are borders.
    """

    above: int
    below: int
    left: int
    right: int


def copied_of(
    work: Workload, tile: tuple[int, int], out_rows: int, reads: tuple[int, int]
) -> Copied:
    """Return what is to be copied so that all other tiles read the map itself.

    Parameters
    ----------
    tile : tuple of int
        Output pixels of a tile: side by side, and rows.
    reads : tuple of int
        Input rows and columns that a tile reads.
    """
    (height, width), (top, left, _, _) = work.in_size, work.padding
    below = rows_of(work, work.out_size[0]) - top - height
    inside = (top, rows_of(work, out_rows) - below)
    ends = _outside(out_rows, tile[1], work.strides[0], reads[0], inside)
    sides = _outside(work.out_size[1], tile[0], work.strides[1], reads[1], (left, left + width))
    return Copied(*ends, *sides)


def _outside(
    pixels: int, each: int, stride: int, read: int, inside: tuple[int, int]
) -> tuple[int, int]:
    """Return where tiles end that begin before the map, and begin that end behind it."""
    begins = [min(i, pixels - each) * stride for i in range(0, pixels, each)]
    ends = [begin + read for begin in begins if begin < inside[0]]
    last = (pixels - each) * stride + read
    return max(ends, default=0), min((b for b in begins if b + read > inside[1]), default=last)


def copy_rows(  # noqa: PLR0917  from where, to where
    work: Workload,
    data: Any,
    source: tuple[Any, Any],
    first: Any,
    rows: int,
    into: Any,
    at: Any,
    copied: Copied | None = None,
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
    copied : Copied, optional
        What of it; all by default.
    """
    (height, width), left, block = work.in_size, work.padding[1], work.in_block
    columns = int(into.shape[-2])
    inside = left + min(width, columns - left)
    zeros = broadcast(tirx.const(work.zero_point, work.element), block)

    def fill(y: Any, begin: int, end: int) -> None:
        if end > begin:
            with ir.serial(0, end - begin) as x:
                store(into, (*at, y, begin + x, 0), zeros)

    def copy(y: Any, begin: int, end: int) -> None:
        fill(y, begin, min(left, end))
        begin, stop = max(begin, left), min(end, inside)
        if stop > begin:
            count = min(_LINE // (block * ITEM_BYTES[work.dtype]), stop - begin)
            with ir.serial(0, -(-(stop - begin) // count)) as step:
                # The last step begins where it ends with the row, and copies some pixels again.
                x = tirx.min(begin + step * count, stop - count)
                place = (first + y) * width + x - left
                store(into, (*at, y, x, 0), load(data, (*source, place, 0), count * block))
        fill(y, max(begin, inside), end)

    def row(y: Any) -> None:
        if copied is None:
            copy(y, 0, columns)
            return
        above = tirx.all(first < 0, y < copied.above)
        below = tirx.all(first + rows > height, y >= copied.below)
        with ir.If(tirx.any(above, below)):
            with ir.Then():
                copy(y, 0, columns)
            with ir.Else():
                copy(y, 0, copied.left)
                copy(y, copied.right, columns)

    with ir.serial(0, rows) as y, ir.If(tirx.all(first + y >= 0, first + y < height)):
        with ir.Then():
            row(y)
        with ir.Else():
            fill(y, 0, columns)
