"""A register tile of a product of plain matrices, written: rows x vectors of sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.tile import Tile
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import Registers

_TOGETHER = 4
"""Steps that are written out: an inner loop's counter then costs little."""


def product(
    tile: Tile,
    width: int,
    depth: int,
    one: Callable[[int, Any], Any],
    other: Callable[[int, Any], Any],
) -> Registers:
    """Write the sums of a tile.

    Parameters
    ----------
    width : int
        Lanes of a vector of columns.
    depth : int
        Steps.
    one : callable
        From a row of the tile and a step to a number.
    other : callable
        From a vector of the tile and a step to `width` numbers.

    Returns
    -------
    Registers
        By (row, vector).
    """
    sums = Registers("sums", width, "float32")
    every = [(i, v) for i in range(tile.pixels) for v in range(tile.vectors)]
    for at in every:
        zero = tirx.const(0.0, "float32")
        sums[at] = tirx.Broadcast(zero, width) if width > 1 else zero

    def step(k: Any) -> None:
        columns = [other(v, k) for v in range(tile.vectors)]
        for i in range(tile.pixels):
            number = one(i, k)
            wide = tirx.Broadcast(number, width) if width > 1 else number
            for v, column in enumerate(columns):
                sums[i, v] = sums[i, v] + wide * column

    whole, rest = divmod(depth, _TOGETHER)
    if whole:
        with ir.serial(0, whole) as several:
            for k in range(_TOGETHER):
                step(several * _TOGETHER + k)
    for k in range(rest):
        step(whole * _TOGETHER + k)
    return sums
