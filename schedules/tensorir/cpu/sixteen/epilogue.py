"""From sums to what leaves: a map added, activated in float32, rounded once.

Sums begin with the bias, so that it costs nothing. Sums of float16 that are whole are clipped as
such: to round and to clip are the same in either order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tvm import tirx
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import Instructions, broadcast
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import load, store

from tvm_mobilenet.common.functions import clips, parsed
from tvm_mobilenet.operators.workload import Workload

if TYPE_CHECKING:
    from tvm_mobilenet.schedules.tensorir.cpu.sixteen.numbers import Sixteen

_CHANNELS = 16


class Epilogue:
    """What happens to the sums of one layer.

    Parameters
    ----------
    buffers : dict
        ``bias`` (Ob, 16); perhaps ``residual``, of the output's shape.
    numbers : Sixteen
        What the map that is added, and the output, are stored as.
    products : int
        How many each sum has, which may be more than are added up at once.
    """

    def __init__(
        self,
        work: Workload,
        machine: Instructions,
        buffers: dict[str, Any],
        numbers: Sixteen,
        products: int,
    ) -> None:
        self._work, self._machine, self._buffers = work, machine, buffers
        self._numbers = numbers
        self._most = work.half_products if products > work.half_products else 0

    @property
    def machine(self) -> Instructions:
        """What the sums were added up by."""
        return self._machine

    @property
    def most(self) -> int:
        """Products of a sum of float16 before it is carried to one of float32; 0: all of them."""
        return self._most

    def start(self, block: Any, v: int) -> Any:
        """Return what sums begin with, or those that they are carried to: the bias."""
        lanes = self._machine.lanes
        bias = load(self._buffers["bias"], (block, v * lanes), lanes)
        halves = self._machine.sums == "float16" and not self._most
        return self._numbers.narrowed(bias, lanes) if halves else bias

    def carried(self, total: Any, sums: Any) -> Any:
        """Return a register of float32 with sums added to it."""
        return total + self._numbers.widened(sums, self._machine.lanes)

    def write(
        self,
        out: Any,
        block: Any,
        pixels: int,
        sums: Callable[[int, int], Any],
        place: Callable[[int], Sequence[Any]],
        *,
        vectors: Sequence[int] | None = None,
    ) -> None:
        """Write the pixels of a tile, whose 16 channels are a block of the layer's output."""
        lanes = self._machine.lanes
        vectors = range(self._machine.vectors) if vectors is None else vectors
        for pixel in range(pixels):
            *outer, last = place(pixel)
            for v in vectors:
                at = [*outer, last + v * lanes]
                self._leave(out, at, self._ended_as(out, sums(pixel, v), block, v, at))

    def _leave(self, out: Any, at: Sequence[Any], numbers: Any) -> None:
        """Store a register as what a map holds."""
        kept = _kind(numbers) == str(out.dtype)
        store(out, at, numbers if kept else self._numbers.narrowed(numbers, self._machine.lanes))

    def _ended_as(self, out: Any, value: Any, block: Any, v: int, at: Sequence[Any]) -> Any:
        """Return what leaves; sums of float16 are widened where it is not their clipping alone."""
        if _kind(value) != "float16":
            return self._ended(value, block, v, at)
        lanes, name = self._machine.lanes, self._work.activation
        clipped = name == "none" or clips(name) is not None
        if clipped and "residual" not in self._buffers and str(out.dtype) == "float16":
            return activated(value, name, lanes)
        return self._ended(self._numbers.widened(value, lanes), block, v, at)

    def _ended(self, value: Any, block: Any, v: int, at: Sequence[Any]) -> Any:
        lanes = self._machine.lanes
        if "residual" in self._buffers:
            value += self._numbers.widened(load(self._buffers["residual"], at, lanes), lanes)
        if self._work.watched_channels:
            channel = tirx.Ramp(block * _CHANNELS + v * lanes, 1, lanes)
            last = broadcast(tirx.const(self._work.out_channels, "int32"), lanes)
            value = tirx.Select(channel < last, value, _number(0.0, lanes))
        return activated(value, self._work.activation, lanes)


def activated(value: Any, activation: str, lanes: int) -> Any:
    """Apply an activation of straight lines to a register; of float16, one that clips."""
    name, parameters = parsed(activation)
    ends = clips(activation)
    if ends is not None or name == "none":
        return _between(value, ends or (-math.inf, math.inf), lanes)
    if name in ("gate", "gated"):
        slope, offset, top = parameters
        line = value * _number(slope, lanes) + _number(offset, lanes)
        gate = _between(line, (0.0, top), lanes)
    else:
        raised = value + _number(3.0, lanes)
        gate = _between(raised, (0.0, 6.0), lanes) * _number(1.0 / 6.0, lanes)
    return gate if name in ("gate", "hardsigmoid") else value * gate


def _between(value: Any, ends: tuple[float, float], lanes: int) -> Any:
    low, high = ends
    if math.isfinite(low):
        value = tirx.Max(value, _number(low, lanes, _kind(value)))
    if math.isfinite(high):
        value = tirx.Min(value, _number(high, lanes, _kind(value)))
    return value


def _number(value: float, lanes: int, kind: str = "float32") -> Any:
    return broadcast(tirx.const(value, kind), lanes)


def _kind(numbers: Any) -> str:
    """Return the type of a register's numbers."""
    return str(numbers.ty).partition("x")[0]
