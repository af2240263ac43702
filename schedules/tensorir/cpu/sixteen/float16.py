"""How ARM's processors multiply float16: by ``fmla``, which adds up in float16 too.

A register holds eight sums. Inputs are read eight channels at once and multiplied by lane, so
that of a tile of 8 pixels and 16 channels 128 multiply-adds need 24 loads. A sum of many products
would lose what is left of its 11 bits; so one of :attr:`Workload.half_products` at most is carried
to a sum of float32 (``fcvtl``, ``fadd``), and the next begins with 0.

Where a layer has no more products than that (a first convolution, a depthwise layer), sums begin
with the bias, rounded to float16, are clipped as such, and are never widened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import (
    Instructions,
    intrinsic,
    vector,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import load
from tvm_mobilenet.schedules.tensorir.cpu.sixteen.numbers import Sixteen

from tvm_mobilenet.machine import TargetSpec

_LANES = 8


class Float16(Sixteen):
    """IEEE's half precision."""

    def instructions(self, target: TargetSpec, rows: int = 1) -> Instructions:
        return Instructions(
            _LANES,
            _multiply_add,
            "",
            fused=True,
            sums="float16",
            weights=load,
            inputs=_by_lane,
            unrolls=False,
        )

    def narrowed(self, numbers: Any, lanes: int) -> Any:
        return tirx.Cast(vector("float16", lanes), numbers)

    def widened(self, stored: Any, lanes: int) -> Any:
        return tirx.Cast(vector("float32", lanes), stored)


def _multiply_add(sums: Any, inputs: Any, weights: Any) -> Any:
    return intrinsic(str(sums.ty), f"llvm.fma.v{_LANES}f16", weights, inputs, sums)


def _by_lane(buffer: Any, at: Sequence[Any], lanes: int) -> Any:
    """Return one number in every lane, of a register of those beside it."""
    *outer, channel = at
    each = min(_LANES, int(buffer.shape[-1]))
    beside = load(buffer, (*outer, channel - channel % each), each)
    one = tirx.Shuffle([beside], [tirx.IntImm("int32", channel % each)]) if each > 1 else beside
    return tirx.Broadcast(one, lanes)


FLOAT16 = Float16()
"""The one such object."""
