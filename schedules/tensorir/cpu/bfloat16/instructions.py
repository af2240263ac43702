"""How a processor multiplies bfloat16 and rounds to it: a row a machine.

=============  =====  ===========================================  ==================
instructions   lanes  a step                                       rounding
=============  =====  ===========================================  ==================
AVX-512 BF16   16     ``vdpbf16ps``                                ``vcvtneps2bf16``
ARM with BF16  4      ``bfdot``                                    ``bfcvtn``
=============  =====  ===========================================  ==================

A step adds to each sum of float32 the products of two inputs and two weights, which are exact.
TVM knows maps of bfloat16 as uint16: its own passes would turn bfloat16 into float32 on the way
into a call. So a step is a function in LLVM's own text, which takes and returns bits and becomes
part of the kernel. Inputs are its last operand: ``vdpbf16ps`` broadcasts that itself, which a
register of it would cost a second instruction (480 to 112 channels at 14 x 14 on a Zen 4: 93 µs,
not 126).
"""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import (
    Instructions,
    vector,
)

from tvm_mobilenet.machine import TargetSpec

_DOT, _NARROW = "tvm_mobilenet_bfloat16_dot", "tvm_mobilenet_bfloat16_of"

_FUNCTIONS = f"""
declare <$L x float> @$DOT(<$L x float>, <$W x bfloat>, <$W x bfloat>)

define <$L x float> @{_DOT}(<$L x float> %sums, <$L x i32> %inputs, <$L x i32> %weights) {{
  %read = bitcast <$L x i32> %inputs to <$W x bfloat>
  %by = bitcast <$L x i32> %weights to <$W x bfloat>
  %next = call <$L x float> @$DOT(<$L x float> %sums, <$W x bfloat> %by, <$W x bfloat> %read)
  ret <$L x float> %next
}}

define <$L x i16> @{_NARROW}(<$L x float> %numbers) {{
  %rounded = fptrunc <$L x float> %numbers to <$L x bfloat>
  %bits = bitcast <$L x bfloat> %rounded to <$L x i16>
  ret <$L x i16> %bits
}}
"""


def instructions_of(target: TargetSpec) -> Instructions:
    """Return the row of a target, which has one: :meth:`TargetSpec.storing` says."""
    if target.isa == "avx512":
        return _row(16, "llvm.x86.avx512bf16.dpbf16ps.512")
    return _row(4, "llvm.aarch64.neon.bfdot.v4f32.v8bf16")


def _row(lanes: int, dot: str) -> Instructions:
    text = _FUNCTIONS.replace("$DOT", dot)
    text = text.replace("$L", str(lanes)).replace("$W", str(2 * lanes))
    return Instructions(lanes, _dot, "", fused=True, sums="float32", masks=True, functions=text)


def _dot(sums: Any, inputs: Any, weights: Any) -> Any:
    return tirx.call_pure_extern(str(sums.ty), _DOT, sums, inputs, weights)


def narrowed(numbers: Any, lanes: int) -> Any:
    """Return float32 numbers as bits of bfloat16, the nearest, ties to even."""
    return tirx.call_pure_extern(vector("uint16", lanes), _NARROW, numbers)
