"""How a processor multiplies bfloat16 and rounds to it: a row a machine.

=============  =====  ===========================================  ==================
instructions   lanes  a step                                       rounding
=============  =====  ===========================================  ==================
AVX-512 BF16   16     ``vdpbf16ps``                                ``vcvtneps2bf16``
ARM with BF16  4      ``bfdot``; of two pixels ``bfmmla``          ``bfcvtn``
=============  =====  ===========================================  ==================

A step adds to each sum of float32 the products of two inputs and two weights, which are exact;
``bfmmla`` does so twice. ARM's round twice for two products, to odd, by less than two units: no
more than what is allowed for as many products.

TVM knows maps of bfloat16 as uint16: its own passes would turn bfloat16 into float32 on the way
into a call. So a step is a function in LLVM's own text, which takes and returns bits and becomes
part of the kernel. Inputs are its last operand: ``vdpbf16ps`` broadcasts that itself, which a
register of it would cost a second instruction (480 to 112 channels at 14 x 14 on a Zen 4: 93 µs,
not 126).
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

from tvm import tirx
from tvm_mobilenet.schedules.tensorir.cpu.integer.halves import widened
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import Instructions, vector
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import eight_bytes, lanes_of
from tvm_mobilenet.schedules.tensorir.cpu.sixteen.numbers import Sixteen

from tvm_mobilenet.machine import TargetSpec

_DOT, _PAIRED = "tvm_mobilenet_bfloat16_dot", "tvm_mobilenet_bfloat16_mmla"
_NARROW = "tvm_mobilenet_bfloat16_of"

_NEON = 4
"""Sums of a register of AArch64."""

BFMMLA = "llvm.aarch64.neon.bfmmla"
"""LLVM's intrinsic of 2 x 4 numbers by 4 x 2."""

_STEP = """
declare <$L x float> @$DOT(<$L x float>, <$W x bfloat>, <$W x bfloat>)

define <$L x float> @$NAME(<$L x float> %sums, <$L x i32> %inputs, <$L x i32> %weights) {
  %read = bitcast <$L x i32> %inputs to <$W x bfloat>
  %by = bitcast <$L x i32> %weights to <$W x bfloat>
  %next = call <$L x float> @$DOT(<$L x float> %sums, <$W x bfloat> $ONE, <$W x bfloat> $OTHER)
  ret <$L x float> %next
}
"""

_ROUNDED = f"""
define <$L x i16> @{_NARROW}(<$L x float> %numbers) {{
  %rounded = fptrunc <$L x float> %numbers to <$L x bfloat>
  %bits = bitcast <$L x bfloat> %rounded to <$L x i16>
  ret <$L x i16> %bits
}}
"""


class BFloat16(Sixteen):
    """The upper half of float32."""

    def instructions(self, target: TargetSpec, rows: int = 1) -> Instructions:
        if target.isa == "avx512":
            return _row(16, _step(_DOT, "llvm.x86.avx512bf16.dpbf16ps.512"))
        one = _step(_DOT, "llvm.aarch64.neon.bfdot.v4f32.v8bf16")
        if rows == 1:
            return _row(_NEON, one)
        # Pixels are the rows. A separable block's filter calls the other.
        both = one + _step(_PAIRED, BFMMLA, ("%read", "%by"))
        return dataclasses.replace(
            _row(_NEON, both), step=partial(_dot, _PAIRED), inputs=eight_bytes
        )

    def narrowed(self, numbers: Any, lanes: int) -> Any:
        return tirx.call_pure_extern(vector("uint16", lanes), _NARROW, numbers)

    def widened(self, stored: Any, lanes: int) -> Any:
        return widened(stored, lanes)


def _step(name: str, intrinsic: str, operands: tuple[str, str] = ("%by", "%read")) -> str:
    text = _STEP.replace("$NAME", name).replace("$DOT", intrinsic)
    return text.replace("$ONE", operands[0]).replace("$OTHER", operands[1])


def _row(lanes: int, steps: str) -> Instructions:
    text = (steps + _ROUNDED).replace("$L", str(lanes)).replace("$W", str(2 * lanes))
    return Instructions(
        lanes,
        partial(_dot, _DOT),
        "",
        fused=True,
        sums="float32",
        masks=True,
        functions=text,
        unrolls=lanes > _NEON,
    )


def _dot(name: str, sums: Any, inputs: Any, weights: Any) -> Any:
    dwords = vector("int32", lanes_of(sums))
    bits = [tirx.reinterpret(dwords, each) for each in (inputs, weights)]
    return tirx.call_pure_extern(str(sums.ty), name, sums, *bits)


BFLOAT16 = BFloat16()
"""The one such object."""
