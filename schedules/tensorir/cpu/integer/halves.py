"""Numbers of float32 in maps of bfloat16: its bits are the upper half of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import broadcast, vector
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import load, store

_BELOW_HALF = 0x7FFF
"""What is added to bits before their lower half is dropped: half a last place, less one."""


def widened(bits: Any, lanes: int) -> Any:
    """Return what bits of bfloat16 stand for, as float32."""
    wide = vector("uint32", lanes)
    moved = tirx.shift_left(tirx.Cast(wide, bits), _each(16, lanes))
    return tirx.reinterpret(vector("float32", lanes), moved)


def narrowed(numbers: Any, lanes: int) -> Any:
    """Return numbers as bits of bfloat16, the nearest, ties to even.

    What is made of elements is no NaN, so that this takes four operations of whole numbers, on
    every processor.
    """
    bits = tirx.reinterpret(vector("uint32", lanes), numbers)
    last = tirx.bitwise_and(tirx.shift_right(bits, _each(16, lanes)), _each(1, lanes))
    nearest = tirx.shift_right(bits + (last + _each(_BELOW_HALF, lanes)), _each(16, lanes))
    return tirx.Cast(vector("uint16", lanes), nearest)


def load_numbers(buffer: Any, at: Sequence[Any], lanes: int) -> Any:
    """Load a register of a map of float32 or bfloat16 as float32."""
    read = load(buffer, at, lanes)
    return widened(read, lanes) if str(buffer.dtype) == "uint16" else read


def store_numbers(buffer: Any, at: Sequence[Any], numbers: Any) -> None:
    """Store a register of float32, made of elements, in a map of it or of bfloat16."""
    if str(buffer.dtype) == "uint16":
        lanes = int(str(numbers.ty).partition("x")[2] or 1)
        numbers = narrowed(numbers, lanes)
    store(buffer, at, numbers)


def _each(value: int, lanes: int) -> Any:
    return broadcast(tirx.const(value, "uint32"), lanes)
