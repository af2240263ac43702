"""Maps into blocks of channels, and out of them: where an operator is not ours, and at the ends.

Loop nest, outer to inner
    (n, channel block, group of pixels) on threads → squares of block x block elements → a
    transposition in registers

Registers
    Two squares of 16 x 16, one before and one behind a step of the transposition: 32 vectors of
    AVX-512, whose last step writes.

Bound
    The bandwidth of the level that the map is in; of shuffles there are log2(block) an element's
    vector.

What lost
    Vectors of elements that lie apart, as LLVM gathers them: 200 µs for 32 x 56 x 56 out of
    blocks of 16 on one Zen 5 core.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.threads import ELEMENT, pays_to_share
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import (
    function,
    load,
    store,
    units,
)
from tvm_mobilenet.schedules.tensorir.cpu.squares import transposed

from tvm_mobilenet.machine import TargetSpec

FINISHED = "tvm_mobilenet.finished"
"""Attribute of a function whose loops are final."""

_UNITS_A_CORE = 4


def write_layout(shape: tuple[int, ...], block: int, target: TargetSpec, *, blocks: bool) -> Any:
    """Write what changes the layout of a map of float32.

    Parameters
    ----------
    shape : tuple of int
        (N, C, H, W) or (N, C).
    block : int
        Channels in a block.
    blocks : bool
        Whether it goes into blocks, else out of them.
    """
    n, channels, *rest = shape
    pixels, count = math.prod(rest), -(-channels // block)
    blocked = (n, count, pixels, block)
    name = f"{'blocked' if blocks else 'plain'}_n{n}_c{channels}_p{pixels}_b{block}"
    before, after = (shape, blocked) if blocks else (blocked, shape)
    square = block if pixels >= block > 1 else 1
    tiles = -(-pixels // square)
    groups = min(tiles, -(-_UNITS_A_CORE * target.cores // (n * count)))
    each = -(-tiles // groups)
    total = n * count * groups
    shared = pays_to_share(total, ELEMENT * n * count * pixels * block, target)

    def body(data: Any, out: Any) -> None:
        plain, inside = (data, out) if blocks else (out, data)
        change = _Change(plain, inside, shape, block, square, blocks=blocks)
        with units(total, parallel=shared) as unit:
            image, o, group = unit // (count * groups), unit // groups % count, unit % groups
            with ir.serial(0, each) as step:
                first = tirx.min((group * each + step) * square, pixels - square)
                left = channels - (count - 1) * block
                if left == block:
                    change.tile(image, o, first, block)
                    return
                with ir.If(o < count - 1):
                    with ir.Then():
                        change.tile(image, o, first, block)
                    with ir.Else():
                        change.tile(image, o, first, left)

    made = function({"data": (before, "float32"), "out": (after, "float32")}, body)
    return made.with_attr("global_symbol", name).with_attr(FINISHED, 1)


class _Change:
    def __init__(
        self, plain: Any, inside: Any, shape: tuple[int, ...], block: int, square: int, *,
        blocks: bool,
    ) -> None:  # fmt: skip
        self._plain, self._inside, self._blocks = plain, inside, blocks
        self._block, self._square = block, square
        self._width = shape[3] if len(shape) == 4 else 0

    def tile(self, image: Any, o: Any, first: Any, real: int) -> None:
        """Write `square` pixels of a block that has `real` channels."""
        if self._square == 1:
            for c in range(self._block if self._blocks else real):
                self._element(image, o, first, c, real)
        elif self._blocks:
            self._into(image, o, first, real)
        else:
            self._out_of(image, o, first, real)

    def _place(self, image: Any, channel: Any, pixel: Any) -> list[Any]:
        if not self._width:
            return [image, channel]
        # Vectors pass the ends of rows: the buffer lies in one piece.
        return [image, channel, 0, pixel]

    def _element(self, image: Any, o: Any, pixel: Any, c: int, real: int) -> None:
        place = self._place(image, o * self._block + c, pixel)
        if not self._blocks:
            ir.buffer_store(self._plain, self._inside[image, o, pixel, c], place)
            return
        value = self._plain[tuple(place)] if c < real else tirx.const(0.0, "float32")
        ir.buffer_store(self._inside, value, [image, o, pixel, c])

    def _into(self, image: Any, o: Any, first: Any, real: int) -> None:
        block = self._block
        zeros = tirx.Broadcast(tirx.const(0.0, "float32"), block)
        rows = [
            load(self._plain, self._place(image, o * block + c, first), block)
            if c < real
            else zeros
            for c in range(block)
        ]
        for i, row in enumerate(transposed(rows)):
            store(self._inside, (image, o, first + i, 0), row)

    def _out_of(self, image: Any, o: Any, first: Any, real: int) -> None:
        block = self._block
        rows = [load(self._inside, (image, o, first + i, 0), block) for i in range(block)]
        for c, row in enumerate(transposed(rows)[:real]):
            store(self._plain, self._place(image, o * block + c, first), row)
