"""The sums of a tile, in registers: of a pixel each, or of two pixels and two channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tvm import tirx
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import broadcast
from tvm_mobilenet.schedules.tensorir.cpu.integer.numbers import Ending
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import Registers, lanes_of, load

from tvm_mobilenet.operators.workload import Workload

_PAIR = 2
"""Pixels, and channels, of a register of :class:`PairedSums`."""


class Sums:
    """The sums of a tile: some pixels of some blocks of output channels.

    Sums that are exact for so many products only are carried to totals as often (of float16, to
    float32), and begin with 0 again.
    """

    def __init__(
        self, epilogue: Ending, weight: Any, pixels: int, first_block: Any, blocks: int
    ) -> None:
        self._epilogue, self._machine, self._weight = epilogue, epilogue.machine, weight
        self._pixels, self._first, self._blocks = pixels, first_block, blocks
        self._rows, self._vectors = self._shape()
        self._sums = Registers("sums", self._machine.lanes, self._machine.sums)
        self._totals = Registers("totals", self._machine.lanes, "float32")
        self._most, self._pending = epilogue.most, 0
        first = self._totals if self._most else self._sums
        for pixel, block, v in self._each():
            first[pixel, block, v] = self._start(first_block + block, v)
            if self._most:
                self._begin((pixel, block, v))

    @property
    def most(self) -> int:
        """Products that sums may have before :meth:`carry`; 0: any number."""
        return self._most

    def reserve(self, products: int) -> None:
        """Carry the sums if they have no room for some products more."""
        if self._most and self._pending + products > self._most:
            self.carry()
        self._pending += products

    def carry(self) -> None:
        """Add the sums to the totals, if there are any, and begin again."""
        if not self._most or not self._pending:
            return
        for at in self._each():
            self._totals[at] = self._epilogue.carried(self._totals[at], self._sums[at])
            self._begin(at)
        self._pending = 0

    def _begin(self, at: tuple[int, int, int]) -> None:
        zero = tirx.const(0, self._machine.sums)
        self._sums[at] = broadcast(zero, self._machine.lanes)

    def add(self, row: Any, inputs: Callable[[int], Any]) -> None:
        """Add the products of one step.

        Parameters
        ----------
        row : PrimExpr
            The row of the packed weights that they are multiplied by.
        inputs : callable
            From a pixel of the tile to its four inputs, in every lane.
        """
        for pixel, block, v in self._each():
            weights = self._weights(self._first + block, row, v)
            at = (pixel, block, v)
            self._sums[at] = self._machine.step(self._sums[at], self._read(inputs, pixel), weights)

    def leave(self, out: Any, place: Callable[[int, Any], list[Any]]) -> None:
        """Write what they become; `place` is of a pixel of the tile and a block of the output."""
        self.carry()
        for i in range(self._blocks):
            block = self._first + i
            self._epilogue.write(
                out,
                block,
                self._pixels,
                partial(self._of, i),
                partial(_swapped, place, block),
            )

    def _each(self) -> list[tuple[int, int, int]]:
        return [
            (pixel, block, v)
            for pixel in range(self._rows)
            for block in range(self._blocks)
            for v in range(self._vectors)
        ]

    def _shape(self) -> tuple[int, int]:
        """Return rows of registers, of a pixel each, and how many of a block are in one."""
        return self._pixels, self._machine.vectors

    def _start(self, block: Any, v: int) -> Any:
        return self._epilogue.start(block, v)

    def _read(self, inputs: Callable[[int], Any], row: int) -> Any:
        return inputs(row)

    def _weights(self, block: Any, row: Any, v: int) -> Any:
        lanes = self._machine.lanes
        return self._machine.weights(self._weight, (block, row, v * lanes, 0), lanes)

    def _of(self, block: int, pixel: int, v: int) -> Any:
        return (self._totals if self._most else self._sums)[pixel, block, v]


class PairedSums(Sums):
    """The same by ARM's matrix instructions: a register is of two pixels and two channels.

    ``smmla`` multiplies 2 x 8 elements by 8 x 2, ``bfmmla`` 2 x 4 numbers by 4 x 2: twice as many
    products as ``sdot`` and ``bfdot`` do. A step of two pixels lies side by side after one ``zip``
    of doublewords; of ``[p0 c0, p0 c1, p1 c0, p1 c1]`` two registers and one more ``zip`` are four
    channels of a pixel. A tile of 6 pixels and 16 channels has 11 loads for 24 instructions.
    """

    def _shape(self) -> tuple[int, int]:
        return self._pixels // _PAIR, self._machine.vectors * _PAIR

    def _start(self, block: Any, v: int) -> Any:
        begin = v % _PAIR * _PAIR
        return _chosen([self._epilogue.start(block, v // _PAIR)], [begin, begin + 1] * _PAIR)

    def _read(self, inputs: Callable[[int], Any], row: int) -> Any:
        both = [inputs(_PAIR * row + i) for i in range(_PAIR)]
        return _chosen(both, range(2 * lanes_of(both[0])))

    def _weights(self, block: Any, row: Any, v: int) -> Any:
        return load(self._weight, (block, row, v * _PAIR, 0), _PAIR * int(self._weight.shape[-1]))

    def _of(self, block: int, pixel: int, v: int) -> Any:
        halves = [self._sums[pixel // _PAIR, block, v * _PAIR + i] for i in range(_PAIR)]
        begin = pixel % _PAIR * _PAIR
        return _chosen(halves, [begin, begin + 1, begin + 4, begin + 5])


def sums_of(  # noqa: PLR0917  of what, where
    work: Workload, epilogue: Ending, weight: Any, pixels: int, first_block: Any, blocks: int
) -> Sums:
    """Return the sums of a tile as a workload's instructions want them."""
    kind = PairedSums if work.rows > 1 else Sums
    return kind(epilogue, weight, pixels, first_block, blocks)


def _chosen(registers: Sequence[Any], lanes: Sequence[int]) -> Any:
    return tirx.Shuffle(list(registers), [tirx.IntImm("int32", i) for i in lanes])


def _swapped(place: Callable[[int, Any], list[Any]], block: Any, pixel: int) -> list[Any]:
    return place(pixel, block)
