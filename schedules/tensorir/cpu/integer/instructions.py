"""How a processor multiplies elements of 8 bits and makes elements of sums: a row a machine.

A register holds dwords: a sum of 32 bits in each, or four inputs, or four weights of one output
channel. ``step`` adds to each sum the products of its four inputs and weights. Sixteen channels
are as many registers as that takes.

========================  ======  ==========================================================
instructions              lanes   a step
========================  ======  ==========================================================
AVX-512 VNNI, AVX-VNNI    16, 8   ``vpdpbusd``
AVX-512, AVX2, SSE        16 … 4  ``vpmaddwd`` of the even and of the odd elements, widened
I8MM                      4       ``smmla``: eight inputs of two pixels, two channels
SDOT                      4       ``sdot``
NEON without it           4       ``smull`` of either half, ``saddlp``, ``addp``, ``add``
any other                 4       four multiplications of 32 bits
========================  ======  ==========================================================

``vpmaddubsw`` is not used: it saturates sums of two products at 16 bits. Which row a target has
is decided by its features before LLVM sees an intrinsic, since LLVM aborts where it lacks one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import dword, dwords, eight_bytes

from tvm_mobilenet.machine import TargetSpec

Step = Callable[[Any, Any, Any], Any]
"""From sums, inputs and weights to the next sums."""

Reader = Callable[[Any, Sequence[Any], int], Any]
"""From a buffer, indices and lanes to a register."""

_MAGIC = 12582912.0
"""1.5 * 2**23: added to a float32 below 2**22 it leaves the whole number, ties to even, as the last
bits."""

_MAGIC_BITS = 0x4B400000


@dataclass(frozen=True, slots=True)
class Instructions:
    """A row.

    Attributes
    ----------
    lanes : int
        Dwords in a register.
    step : callable
        See the module.
    convert : str
        LLVM's intrinsic that rounds float32 to int32, ties to even; "" where there is none.
    fused : bool
        Whether float32 is multiplied and added in one rounding; else float64 does it exactly
        (docs/adr/0028).
    packs : bool
        Whether four registers are packed into one with saturation (AVX-512BW).
    tables : bool
        Whether a register of bytes is looked up in a table of two (AVX-512 VBMI).
    sums : str
        What sums are.
    masks : bool
        Whether what a weight of 0 multiplies has to be made 0 first, because it may be NaN.
    functions : str
        LLVM's text of the functions that a step calls.
    weights, inputs : callable
        They read a step's register of weights, and its inputs of one pixel, which are the same for
        each output channel: from a buffer, indices and lanes.
    unrolls : bool
        Whether the taps of a convolution are unrolled. For AArch64 LLVM would load so much ahead
        that sums leave their registers (24 to 32 channels, 3 x 3, SDOT: 15 multiply-adds a cycle,
        20 with a loop over rows of taps, by llvm-mca for a Neoverse N1).
    """

    lanes: int
    step: Step
    convert: str
    fused: bool
    packs: bool = False
    tables: bool = False
    sums: str = "int32"
    masks: bool = False
    functions: str = ""
    weights: Reader = dwords
    inputs: Reader = dword
    unrolls: bool = True

    @property
    def vectors(self) -> int:
        """Registers that sixteen channels take."""
        return 16 // self.lanes

    @property
    def scalar(self) -> Instructions:
        """The same for one number at a time."""
        return dataclasses.replace(self, lanes=1, convert="", packs=False, tables=False)

    def multiply_add(self, sums: Any, scale: Any, shift: Any) -> Any:
        """Return ``float32(sums) * scale + shift``, rounded once."""
        kind = vector("float32", self.lanes)
        if self.fused:
            name = f"llvm.fma.v{self.lanes}f32" if self.lanes > 1 else "llvm.fma.f32"
            return intrinsic(kind, name, as_float(sums), scale, shift)
        wide = vector("float64", self.lanes)
        parts = [tirx.Cast(wide, part) for part in (as_float(sums), scale, shift)]
        return tirx.Cast(kind, parts[0] * parts[1] + parts[2])

    def rounded(self, numbers: Any) -> Any:
        """Return float32 numbers below 2**22 as int32, ties to even."""
        kind = vector("int32", self.lanes)
        if self.convert == "llvm.x86.avx512.mask.cvtps2dq.512":
            zeros = broadcast(tirx.const(0, "int32"), self.lanes)
            mask, nearest = tirx.const(-1, "int16"), tirx.const(4, "int32")
            return intrinsic(kind, self.convert, numbers, zeros, mask, nearest)
        if self.convert:
            return intrinsic(kind, self.convert, numbers)
        moved = numbers + broadcast(tirx.const(_MAGIC, "float32"), self.lanes)
        bits = broadcast(tirx.const(_MAGIC_BITS, "int32"), self.lanes)
        return tirx.reinterpret(kind, moved) - bits


def instructions_of(target: TargetSpec, rows: int = 1) -> Instructions:
    """Return the row of a target; of its matrix instructions, where a workload has two `rows`."""
    has = set(target.needs)
    if target.isa == "avx512":
        dot = _dpbusd(16) if "avx512_vnni" in has else _madd(16)
        convert = "llvm.x86.avx512.mask.cvtps2dq.512"
        return Instructions(16, dot, convert, True, True, "avx512vbmi" in has)
    if target.isa == "avx2":
        dot = _dpbusd(8) if "avx_vnni" in has else _madd(8)
        return Instructions(8, dot, "llvm.x86.avx.cvt.ps2dq.256", "fma" in has)
    if target.isa == "sse":
        return Instructions(4, _madd(4), "llvm.x86.sse2.cvtps2dq", False)
    if target.isa == "neon":
        dot = _sdot if "asimddp" in has else _smull
        one = Instructions(4, dot, "llvm.aarch64.neon.fcvtns.v4i32.v4f32", True, unrolls=False)
        return one if rows == 1 else dataclasses.replace(one, step=_smmla, inputs=eight_bytes)
    dot = _vmull if target.isa == "neon32" else _widened
    return Instructions(4, dot, "", True)


def _dpbusd(lanes: int) -> Step:
    name = f"llvm.x86.avx512.vpdpbusd.{lanes * 32}"

    def step(sums: Any, inputs: Any, weights: Any) -> Any:
        read = tirx.reinterpret(f"uint8x{lanes * 4}", inputs)
        by = tirx.reinterpret(f"int8x{lanes * 4}", weights)
        return intrinsic(f"int32x{lanes}", name, sums, read, by)

    return step


def _madd(lanes: int) -> Step:
    names = {16: "llvm.x86.avx512.pmaddw.d.512", 8: "llvm.x86.avx2.pmadd.wd"}
    name = names.get(lanes, "llvm.x86.sse2.pmadd.wd")
    words = f"int16x{lanes * 2}"

    def step(sums: Any, inputs: Any, weights: Any) -> Any:
        read = tirx.reinterpret(f"uint16x{lanes * 2}", inputs)
        by = tirx.reinterpret(words, weights)
        low = broadcast(tirx.const(255, "uint16"), lanes * 2)
        eight = broadcast(tirx.const(8, "int16"), lanes * 2)
        odd = tirx.shift_right(read, broadcast(tirx.const(8, "uint16"), lanes * 2))
        even_by = tirx.shift_right(tirx.shift_left(by, eight), eight)
        pairs = (
            (tirx.reinterpret(words, tirx.bitwise_and(read, low)), even_by),
            (tirx.reinterpret(words, odd), tirx.shift_right(by, eight)),
        )
        for one, other in pairs:
            sums += intrinsic(f"int32x{lanes}", name, one, other)
        return sums

    return step


def _sdot(sums: Any, inputs: Any, weights: Any) -> Any:
    read, by = (tirx.reinterpret("int8x16", each) for each in (inputs, weights))
    return intrinsic("int32x4", "llvm.aarch64.neon.sdot.v4i32.v16i8", sums, read, by)


def _smmla(sums: Any, inputs: Any, weights: Any) -> Any:
    return intrinsic("int32x4", "llvm.aarch64.neon.smmla.v4i32.v16i8", sums, inputs, weights)


def _smull(sums: Any, inputs: Any, weights: Any) -> Any:
    """Add pairs of products as int32: two of -128 * -128 are more than int16 holds."""
    pairs = [
        intrinsic("int32x4", "llvm.aarch64.neon.saddlp.v4i32.v8i16", products)
        for products in _products("llvm.aarch64.neon.smull.v8i16", inputs, weights)
    ]
    return sums + intrinsic("int32x4", "llvm.aarch64.neon.addp.v4i32", *pairs)


def _vmull(sums: Any, inputs: Any, weights: Any) -> Any:
    """Do as :func:`_smull`, where neighbours are added in halves of a register only."""
    halves = []
    for products in _products("llvm.arm.neon.vmulls.v8i16", inputs, weights):
        pairs = intrinsic("int32x4", "llvm.arm.neon.vpaddls.v4i32.v8i16", products)
        low, high = tirx.vectorlow("int32x2", pairs), tirx.vectorhigh("int32x2", pairs)
        halves.append(intrinsic("int32x2", "llvm.arm.neon.vpadd.v2i32", low, high))
    return sums + tirx.Shuffle(halves, [tirx.IntImm("int32", i) for i in range(4)])


def _products(name: str, inputs: Any, weights: Any) -> list[Any]:
    """Return the products of the lower and of the upper two dwords' elements as int16."""
    read, by = (tirx.reinterpret("int8x16", each) for each in (inputs, weights))
    halves = (tirx.vectorlow, tirx.vectorhigh)
    return [intrinsic("int16x8", name, half("int8x8", read), half("int8x8", by)) for half in halves]


def _widened(sums: Any, inputs: Any, weights: Any) -> Any:
    """Add four products of 32 bits; inputs are uint8."""
    for byte in range(4):
        sums += _byte(inputs, byte, 4, signed=False) * _byte(weights, byte, 4, signed=True)
    return sums


def _byte(dwords: Any, byte: int, lanes: int, *, signed: bool) -> Any:
    """Return one byte of each dword as int32."""
    up = broadcast(tirx.const(24 - 8 * byte, "int32"), lanes)
    down = broadcast(tirx.const(24, "int32"), lanes)
    moved = tirx.shift_left(dwords, up)
    if signed:
        return tirx.shift_right(moved, down)
    bits = broadcast(tirx.const(24, "uint32"), lanes)
    unsigned = tirx.reinterpret(f"uint32x{lanes}", moved)
    return tirx.reinterpret(f"int32x{lanes}", tirx.shift_right(unsigned, bits))


def as_float(sums: Any) -> Any:
    """Return int32 sums as float32; what is float32 stays."""
    kind = str(sums.ty)
    return sums if kind.startswith("float") else tirx.Cast(kind.replace("int32", "float32"), sums)


def broadcast(value: Any, lanes: int) -> Any:
    """Return a register of one number."""
    return tirx.Broadcast(value, lanes) if lanes > 1 else value


def vector(dtype: str, lanes: int) -> str:
    """Return TVM's name of a register's type."""
    return f"{dtype}x{lanes}" if lanes > 1 else dtype


def intrinsic(kind: str, name: str, *arguments: Any) -> Any:
    """Call one of LLVM's intrinsics that have no effect but their result."""
    return tirx.call_llvm_pure_intrin(kind, name, *arguments)
