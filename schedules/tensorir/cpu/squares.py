"""Squares of vectors, transposed in registers."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import Registers


def square_side(lanes: int, rows: int, columns: int) -> int:
    """Return the side of the largest square that fits: a power of two, 1 where none does."""
    side = lanes
    while side > min(rows, columns):
        side //= 2
    return side


def transposed(rows: list[Any]) -> list[Any]:
    """Transpose a square of vectors: each step interleaves those of its halves, lane by lane."""
    count = len(rows)
    half = count // 2
    low, high = (
        [tirx.const(i // 2 + at + (i % 2) * count, "int32") for i in range(count)]
        for at in (0, half)
    )
    for step in range(count.bit_length() - 1):
        kept = Registers(f"step{step}", count, "float32")
        for i, row in enumerate(rows):
            kept[i] = row
        pairs = [(kept[i], kept[i + half]) for i in range(half)]
        rows = [tirx.Shuffle([*pair], order) for pair in pairs for order in (low, high)]
    return rows
