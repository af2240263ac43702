"""How a processor multiplies and adds up, for each instruction set and type of number.

Sums are of 32 bits, so that a register holds as many for every type; a narrower type has one
instruction add several products to each of them: ``vpdpbusd`` and ``sdot`` four, ``vdpbf16ps``
two, ``bfmmla`` four and ``smmla`` eight. ``vpdpbusd`` takes unsigned activations: it sees signed
ones 128 higher, and the bias takes that back, at no cost. But ARM's ``fmla`` of float16 adds up
in float16, so that a register holds twice as many sums: of :data:`HALF_PRODUCTS` products at
most, which then go on in float32.

What a processor has no instruction for it widens: float16 and bfloat16 to float32, int8 to int16
on the way into a register (``pmaddwd`` and ``paddd``; ``smlal``).

Sources: Intel 64 and IA-32 Optimization Reference Manual (Nehalem, Haswell, Skylake server);
:mod:`tvm_mobilenet.machine.arm_cores` for what ARM's cores do with float32; Arm Architecture
Reference Manual (SDOT, SMMLA, BFMMLA); LLVM's scheduling models (Ice Lake, Sapphire Rapids,
Neoverse N2). Measured by us on a Zen 5, instructions a cycle: 2 FMA, 2 ``vpdpbusd``, 1.86
``vdpbf16ps``. Of Cortex-A7, which has no such guide, and of what ARM does with int8 by widening,
the figures are assumed.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from tvm_mobilenet.errors import TargetError
from tvm_mobilenet.machine.arm_cores import ARM_CORES

Isa = Literal["avx512", "avx2", "sse", "neon", "neon32", "rvv", "scalar"]
Dtype = Literal["float32", "float16", "bfloat16", "int8", "uint8", "int32"]
"""What the elements of a tensor are."""

ITEM_BYTES: MappingProxyType[str, int] = MappingProxyType(
    {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1, "int32": 4}
)

RANGES: MappingProxyType[str, tuple[int, int]] = MappingProxyType(
    {"int8": (-128, 127), "uint8": (0, 255)}
)
"""Least and greatest element of the types that are quantised."""

LINE_BYTES = 64
"""Bytes of a cache line, which is what one prefetch brings."""

LATENCY = 4
"""Cycles until the sum of a multiply-add can be added to again (Agner Fog, instruction
tables: 4 on Zen 2 to Zen 5, Skylake to Sapphire Rapids, Neoverse N1)."""

HALF_PRODUCTS = 32
"""Products that are added up in float16 before their sum goes on in float32: what rounding costs
grows with them, and so does what widening saves (docs/adr/0031)."""


def line_items(dtype: str) -> int:
    """Return the elements in a cache line."""
    return LINE_BYTES // ITEM_BYTES[dtype]


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How one core multiplies numbers of a type and adds up the products.

    Attributes
    ----------
    lanes : int
        Sums in a register.
    sums : int
        Products that one instruction adds to each of them: how many k it takes at once.
    registers : int
        Architectural vector registers.
    per_cycle : float
        Such instructions that start in a cycle; where multiplying and adding are two, pairs
        of them.
    rows : int
        Rows (pixels) that the sums of a register belong to: two for ARM's matrix
        instructions, whose register holds 2 x 2 sums.
    sum_bytes : int
        Bytes of a sum.
    """

    lanes: int
    sums: int
    registers: int
    per_cycle: float
    rows: int = 1
    sum_bytes: int = ITEM_BYTES["int32"]

    @property
    def macs(self) -> float:
        """Multiply-adds a cycle at most."""
        return self.lanes * self.sums * self.per_cycle

    @property
    def vector_bytes(self) -> int:
        """Bytes of a register."""
        return self.lanes * self.sum_bytes


ARITHMETIC: MappingProxyType[tuple[str, Dtype], Arithmetic] = MappingProxyType(
    {
        ("avx512", "float32"): Arithmetic(16, 1, 32, 2),
        ("avx512", "int8"): Arithmetic(16, 2, 32, 1),
        ("avx512_vnni", "int8"): Arithmetic(16, 4, 32, 2),
        ("avx512_bf16", "bfloat16"): Arithmetic(16, 2, 32, 2),
        ("avx2", "float32"): Arithmetic(8, 1, 16, 2),
        ("avx2", "int8"): Arithmetic(8, 2, 16, 1),
        ("avx_vnni", "int8"): Arithmetic(8, 4, 16, 2),
        ("sse", "float32"): Arithmetic(4, 1, 16, 1),
        ("sse", "int8"): Arithmetic(4, 2, 16, 1),
        ("neon", "float32"): Arithmetic(4, 1, 32, 2),
        ("neon", "int8"): Arithmetic(4, 1, 32, 1),
        ("asimddp", "int8"): Arithmetic(4, 4, 32, 2),
        ("asimdhp", "float16"): Arithmetic(8, 1, 32, 2, sum_bytes=2),
        ("i8mm", "int8"): Arithmetic(4, 8, 32, 2, rows=2),
        ("bf16", "bfloat16"): Arithmetic(4, 4, 32, 2, rows=2),
        ("neon32", "float32"): Arithmetic(4, 1, 16, 0.25),  # Cortex-A7: VMLA by 32-bit halves
        ("neon32", "int8"): Arithmetic(4, 1, 16, 0.5),
        # Registers have 128 bits or more, of which 128 are used.
        ("rvv", "float32"): Arithmetic(4, 1, 32, 1),
        ("rvv", "int8"): Arithmetic(4, 1, 32, 0.5),
        ("scalar", "float32"): Arithmetic(1, 1, 32, 1),
        ("scalar", "int8"): Arithmetic(1, 1, 32, 1),
    }
)
"""By instruction set, or the feature of it (as ``/proc/cpuinfo`` spells it) that brings the
instruction, and by type. uint8 is as int8."""

_EXTENSIONS: dict[tuple[Isa, Dtype], tuple[str, ...]] = {
    ("avx512", "int8"): ("avx512_vnni",),
    ("avx512", "bfloat16"): ("avx512_bf16",),
    ("avx2", "int8"): ("avx_vnni",),
    ("neon", "int8"): ("i8mm", "asimddp"),
    ("neon", "bfloat16"): ("bf16",),
    ("neon", "float16"): ("asimdhp",),
}
"""Features that multiply a type faster, the fastest first."""

_SMALL_INT8 = {"cortex-a53": 0.5, "cortex-a72": 1.0}
"""Instructions a cycle on int8 of ARM cores that do fewer than those in the table."""


def has_products(isa: Isa, needs: Collection[str], dtype: Dtype) -> bool:
    """Whether an instruction of a processor multiplies numbers of a type without widening them."""
    if (isa, dtype) in ARITHMETIC:
        return True
    return any(name in needs for name in _EXTENSIONS.get((isa, dtype), ()))


@functools.cache
def arithmetic_of(isa: Isa, core: str, needs: tuple[str, ...], dtype: Dtype) -> Arithmetic:
    """Return how a processor multiplies numbers of a type.

    Parameters
    ----------
    isa : {"avx512", "avx2", "sse", "neon", "neon32", "rvv", "scalar"}
        Its vector instructions.
    core : str
        LLVM's name of it, or of what it is taken for.
    needs : tuple of str
        The features that code for it may use, as ``/proc/cpuinfo`` spells them.
    dtype : Dtype
        What the activations are; weights are as wide.

    Raises
    ------
    TargetError
        int32, which holds sums and is never multiplied.
    """
    if dtype == "int32":
        raise TargetError("no kernel multiplies int32", "it holds the sums of int8 and uint8")
    kind: Dtype = "int8" if dtype == "uint8" else dtype
    extension = next((name for name in _EXTENSIONS.get((isa, kind), ()) if name in needs), None)
    if extension is not None:
        return ARITHMETIC[extension, kind]
    kind = "int8" if kind == "int8" else "float32"
    found = ARITHMETIC[isa, kind]
    own = _own_pipes(core, kind) if isa in ("neon", "neon32") else None
    return found if own is None else dataclasses.replace(found, per_cycle=own)


def _own_pipes(core: str, kind: Dtype) -> float | None:
    """Return the instructions a cycle of an ARM core, where they are known; None elsewhere."""
    if kind == "int8":
        return _SMALL_INT8.get(core)
    known = ARM_CORES.get(core)
    return None if known is None else known.pipes
