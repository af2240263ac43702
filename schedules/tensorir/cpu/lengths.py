"""Loops of a scheduled function that run less often than their longest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm_mobilenet.schedules.tensorir.cpu.prefetch_insert import changed, rebuilt


@dataclass(frozen=True, slots=True)
class Length:
    """How often a loop runs, where that depends on loops around it.

    Attributes
    ----------
    loop : LoopRV
        Whose extent is the most that `extent` can be.
    extent : callable
        From the variables of `around` to the extent.
    around : sequence of LoopRV
        Loops outside of it.
    """

    loop: Any
    extent: Callable[..., Any]
    around: Sequence[Any]


def with_lengths(sch: Any, func: Any, lengths: Sequence[Length]) -> Any:
    """Let loops of a scheduled function run as often as is said."""
    for length in lengths:
        extent = length.extent(*(sch.get(loop).loop_var for loop in length.around))
        at = sch.get(length.loop).loop_var

        def change(loop: Any, extent: Any = extent) -> Any:
            if int(loop.extent) == 1:
                # What was placed in it knows its variable as 0.
                return tirx.IfThenElse(extent > 0, loop, None)
            return rebuilt(loop, loop.body, extent)

        func = func.with_body(changed(func.body, at, change))
    return func
