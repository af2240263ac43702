"""Numbers of 16 bits, as products want to know them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import (
    Instructions,
    broadcast,
    vector,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.numbers import Numbers, Parameters
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import Shape, load, scratch, store
from tvm_mobilenet.schedules.tensorir.cpu.sixteen.epilogue import Epilogue

from tvm_mobilenet.operators.workload import Workload

_PAIR = 2
"""Channels that are multiplied at once."""


class Sixteen(Numbers):
    """Maps and weights of 16 bits; the bias is float32."""

    @abstractmethod
    def narrowed(self, numbers: Any, lanes: int) -> Any:
        """Return float32 numbers as they are stored, the nearest, ties to even."""

    @abstractmethod
    def widened(self, stored: Any, lanes: int) -> Any:
        """Return what is stored as float32."""

    def epilogue(
        self, work: Workload, machine: Instructions, buffers: dict[str, Any], products: int
    ) -> Epilogue:
        return Epilogue(work, machine, buffers, self, products)

    def weights(self, work: Workload, shape: Shape, name: str = "") -> Parameters:
        bias = (shape[0], 16)
        return {f"{name}weight": (shape, work.element), f"{name}bias": (bias, "float32")}

    def residual(self, work: Workload, shape: Shape) -> Parameters:
        return {"residual": (shape, work.element)} if work.residual else {}

    def image(self, work: Workload) -> tuple[Shape, str]:
        return (work.batch, work.in_channels, *work.in_size), "float32"

    def copy(  # noqa: PLR0917  from where, to where
        self, work: Workload, machine: Instructions, data: Any, image: Any, above: Any, window: Any
    ) -> None:
        """Copy rows of a plain image as they are stored, channels of a pixel side by side."""
        copier = _Rows(self, work, machine, data, window)
        blocks, rows = int(window.shape[0]), int(window.shape[1])
        for block in range(blocks):
            with ir.serial(0, rows) as y:
                inside = tirx.all(above + y >= 0, above + y < work.in_size[0])
                with ir.If(inside):
                    with ir.Then():
                        copier.copy(image, block, y, above + y)
                    with ir.Else():
                        copier.fill(block, y, 0, int(window.shape[2]))


class _Rows:
    """Copies rows of an image into a window."""

    def __init__(
        self, numbers: Sixteen, work: Workload, machine: Instructions, data: Any, window: Any
    ) -> None:
        self._numbers, self._work, self._machine = numbers, work, machine
        self._data, self._window = data, window
        self._channels, self._columns = int(window.shape[3]), int(window.shape[2])
        left = work.padding[1]
        self._left = min(left, self._columns)
        self._right = left + min(work.in_size[1], self._columns - left)
        self._lanes = machine.lanes if self._right - self._left >= machine.lanes else 1

    def fill(self, block: int, y: Any, begin: int, end: int) -> None:
        """Write a border."""
        if end > begin:
            zeros = broadcast(tirx.const(0, self._work.element), self._channels)
            with ir.serial(0, end - begin) as x:
                store(self._window, (block, y, begin + x, 0), zeros)

    def copy(self, image: Any, block: int, y: Any, row: Any) -> None:
        """Write a row of the map with the borders beside it."""
        self.fill(block, y, 0, self._left)
        count = self._right - self._left
        if count > 0:
            with ir.serial(0, -(-count // self._lanes)) as step, ir.sblock("pixels"):
                # The last step begins where it ends with the row, and copies some pixels again.
                x = tirx.min(step * self._lanes, count - self._lanes)
                self._pixels(image, block, y, row, x)
        self.fill(block, y, max(self._right, self._left), self._columns)

    def _pixels(self, image: Any, block: int, y: Any, row: Any, x: Any) -> None:
        """Write as many pixels as a register holds numbers, two channels in a dword."""
        lanes, first = self._lanes, 16 * block
        skipped = self._left - self._work.padding[1]

        def bits(channel: int) -> Any:
            if channel >= self._work.in_channels:
                return broadcast(tirx.const(0, "uint32"), lanes)
            read = load(self._data, (image, channel, row, x + skipped), lanes)
            return tirx.Cast(vector("uint32", lanes), self._narrowed(read))

        pairs = []
        for channel in range(first, first + self._channels, _PAIR):
            upper = tirx.shift_left(bits(channel + 1), broadcast(tirx.const(16, "uint32"), lanes))
            pairs.append(tirx.bitwise_or(bits(channel), upper))
        if lanes > 1 and len(pairs) == _PAIR:  # an image's: as they lie
            order = [part * lanes + i for i in range(lanes) for part in range(_PAIR)]
            both = tirx.Shuffle(pairs, [tirx.IntImm("int32", at) for at in order])
            elements = tirx.reinterpret(vector(self._work.element, lanes * 2 * _PAIR), both)
            store(self._window, (block, y, self._left + x, 0), elements)
            return
        for at, pair in enumerate(pairs):
            self._scattered(pair, (block, y, self._left + x, _PAIR * at))

    def _narrowed(self, numbers: Any) -> Any:
        """Round a register, or one number as a register of it, to bits."""
        whole = self._machine.lanes
        one = self._lanes != whole
        stored = self._numbers.narrowed(tirx.Broadcast(numbers, whole) if one else numbers, whole)
        bits = tirx.reinterpret(vector("uint16", whole), stored)
        return tirx.Shuffle([bits], [tirx.IntImm("int32", 0)]) if one else bits

    def _scattered(self, pair: Any, at: tuple[Any, ...]) -> None:
        block, y, x, channel = at
        with ir.sblock("scattered"):
            kept = scratch("kept", (self._lanes,), "uint32")
            store(kept, (0,), pair)
            with ir.serial(0, self._lanes) as i:
                dword = tirx.reinterpret(vector(self._work.element, _PAIR), kept[i])
                store(self._window, (block, y, x + i, channel), dword)
