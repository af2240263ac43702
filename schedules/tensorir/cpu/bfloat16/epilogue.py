"""From sums to what leaves: a map added, activated in float32, rounded once.

Sums begin with the bias, so that it costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx
from tvm_mobilenet.schedules.tensorir.cpu.bfloat16.instructions import narrowed
from tvm_mobilenet.schedules.tensorir.cpu.integer.halves import widened
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import Instructions, broadcast
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import load, store

from tvm_mobilenet.common.functions import clips, parsed
from tvm_mobilenet.operators.workload import Workload

_CHANNELS = 16


class Epilogue:
    """What happens to the sums of one layer.

    Parameters
    ----------
    buffers : dict
        ``bias`` (Ob, 16); perhaps ``residual``, of the output's shape.
    """

    def __init__(self, work: Workload, machine: Instructions, buffers: dict[str, Any]) -> None:
        self._work, self._machine, self._buffers = work, machine, buffers

    @property
    def machine(self) -> Instructions:
        """What the sums were added up by."""
        return self._machine

    def start(self, block: Any, v: int) -> Any:
        """Return what sums begin with: the bias."""
        lanes = self._machine.lanes
        return load(self._buffers["bias"], (block, v * lanes), lanes)

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
                self.leave(out, at, self._ended(sums(pixel, v), block, v, at))

    def leave(self, out: Any, at: Sequence[Any], numbers: Any) -> None:
        """Store a register of float32 as what a map holds."""
        plain = str(out.dtype) == "float32"
        store(out, at, numbers if plain else narrowed(numbers, self._machine.lanes))

    def _ended(self, value: Any, block: Any, v: int, at: Sequence[Any]) -> Any:
        lanes = self._machine.lanes
        if "residual" in self._buffers:
            value += widened(load(self._buffers["residual"], at, lanes), lanes)
        if self._work.watched_channels:
            channel = tirx.Ramp(block * _CHANNELS + v * lanes, 1, lanes)
            last = broadcast(tirx.const(self._work.out_channels, "int32"), lanes)
            value = tirx.Select(channel < last, value, _number(0.0, lanes))
        return activated(value, self._work.activation, lanes)


def activated(value: Any, activation: str, lanes: int) -> Any:
    """Apply an activation of straight lines to a register of float32."""
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
        value = tirx.Max(value, _number(low, lanes))
    return tirx.Min(value, _number(high, lanes)) if math.isfinite(high) else value


def _number(value: float, lanes: int) -> Any:
    return broadcast(tirx.const(value, "float32"), lanes)
