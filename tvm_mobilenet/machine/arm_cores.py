"""ARM's cores by the names that LLVM has for them: what schedules and predictions count on.

Sources. Pipes and loads: Arm's Software Optimization Guides (Cortex-A55, A57, A72, A73, A75, A76,
A77, A78, A710, X1, X2, X3, Neoverse N1, N2, V1, V2), throughput of ``FMLA`` of four float32 and of
``LDR`` of 128 bits; Dougall Johnson's measurements of Apple's Firestorm, which LLVM's model of
Apple's cores (three pipes) is older than; Ampere's of AmpereOne. The guides were not at hand when
this was written: it is what they are remembered to say, held against LLVM 22's scheduling models,
which have two pipes for Cortex-A55, A510 and A520, and A57's for A75 to A78. Cortex-A35, A53, A510
and A7 have no guide that tells: XNNPACK's kernel for the A53 is counted at 0.75 ``FMLA`` a cycle
by its author, so that one starts in a cycle, and registers take 64 bits of a load in one. Apple's
M2 to M4 and Qualcomm's Oryon are assumed to be as M1, the Neoverse V3 and the Cortex-X4 as V2.

Caches: Arm's Technical Reference Manuals (what a core may have; here the smallest that boards
have), NVIDIA's Technical Reference Manuals of Xavier and Orin. Numbers: LLVM ``Host.cpp``, which
has them from the same manuals and from Linux's ``cputype.h``.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class ArmCore:
    """A core that a table knows.

    Attributes
    ----------
    pipes : float
        Multiply-adds of four float32 that start in a cycle.
    loads : float
        Vector loads, of 128 bits, that start in a cycle.
    caches : tuple of int
        KiB of L1d, of L2 for one core, and of L3 for all.
    in_order : bool
        Whether it begins instructions in the order of the program. LLVM then spreads a load and
        its use apart, which takes registers.
    """

    pipes: float
    loads: float
    caches: tuple[int, int, int]
    in_order: bool = False


ARM_CORES: MappingProxyType[str, ArmCore] = MappingProxyType(
    {
        "cortex-a35": ArmCore(0.5, 0.5, (32, 128, 0), in_order=True),
        "cortex-a53": ArmCore(1, 0.5, (32, 128, 0), in_order=True),
        "cortex-a55": ArmCore(1, 0.5, (32, 64, 1024), in_order=True),
        "cortex-a510": ArmCore(1, 1, (32, 64, 2048), in_order=True),
        "cortex-a520": ArmCore(1, 1, (32, 64, 2048), in_order=True),
        "cortex-a57": ArmCore(1, 1, (32, 512, 0)),
        "cortex-a72": ArmCore(1, 1, (32, 256, 0)),
        "cortex-a73": ArmCore(1, 1, (32, 256, 0)),
        "cortex-a75": ArmCore(1, 2, (64, 256, 1024)),
        "cortex-a76": ArmCore(2, 2, (64, 256, 1024)),
        "cortex-a77": ArmCore(2, 2, (64, 256, 1024)),
        "cortex-a78": ArmCore(2, 3, (32, 256, 2048)),
        "cortex-a78ae": ArmCore(2, 3, (64, 256, 2048)),
        "cortex-a78c": ArmCore(2, 3, (32, 256, 2048)),
        "cortex-a710": ArmCore(2, 3, (32, 256, 2048)),
        "cortex-a715": ArmCore(2, 3, (32, 256, 2048)),
        "cortex-a720": ArmCore(2, 3, (32, 256, 2048)),
        "cortex-x1": ArmCore(4, 3, (64, 512, 4096)),
        "cortex-x1c": ArmCore(4, 3, (64, 512, 4096)),
        "cortex-x2": ArmCore(4, 3, (64, 512, 4096)),
        "cortex-x3": ArmCore(4, 3, (64, 512, 4096)),
        "cortex-x4": ArmCore(4, 3, (64, 512, 4096)),
        "neoverse-n1": ArmCore(2, 2, (64, 1024, 32768)),
        "neoverse-n2": ArmCore(2, 3, (64, 1024, 32768)),
        "neoverse-v1": ArmCore(4, 3, (64, 1024, 32768)),
        "neoverse-v2": ArmCore(4, 3, (64, 1024, 32768)),
        "neoverse-v3": ArmCore(4, 3, (64, 2048, 32768)),
        "carmel": ArmCore(2, 2, (64, 1024, 4096)),
        "ampere1": ArmCore(2, 2, (64, 2048, 65536)),
        "ampere1a": ArmCore(2, 2, (64, 2048, 65536)),
        "ampere1b": ArmCore(2, 2, (64, 2048, 65536)),
        "apple-a14": ArmCore(4, 3, (128, 3072, 8192)),
        "apple-a15": ArmCore(4, 3, (128, 4096, 8192)),
        "apple-a16": ArmCore(4, 3, (128, 4096, 8192)),
        "apple-m4": ArmCore(4, 3, (128, 4096, 8192)),
        "oryon-1": ArmCore(4, 4, (96, 3072, 6144)),
    }
)
"""By LLVM's name of the processor."""

ALIASES: MappingProxyType[str, str] = MappingProxyType(
    {"apple-m1": "apple-a14", "apple-m2": "apple-a15", "apple-m3": "apple-a16"}
)
"""Names that LLVM's own tools take for another processor's, and the library inside TVM does not
(LLVM ``AArch64Processors.td``, ``ProcessorAlias``)."""

_ARM, _NVIDIA, _QUALCOMM, _APPLE, _AMPERE = 0x41, 0x4E, 0x51, 0x61, 0xC0

ARM_PARTS: MappingProxyType[tuple[int, int], str] = MappingProxyType(
    {
        (_ARM, 0xC07): "cortex-a7",
        (_ARM, 0xD04): "cortex-a35",
        (_ARM, 0xD03): "cortex-a53",
        (_ARM, 0xD05): "cortex-a55",
        (_ARM, 0xD46): "cortex-a510",
        (_ARM, 0xD80): "cortex-a520",
        (_ARM, 0xD07): "cortex-a57",
        (_ARM, 0xD08): "cortex-a72",
        (_ARM, 0xD09): "cortex-a73",
        (_ARM, 0xD0A): "cortex-a75",
        (_ARM, 0xD0B): "cortex-a76",
        (_ARM, 0xD0D): "cortex-a77",
        (_ARM, 0xD41): "cortex-a78",
        (_ARM, 0xD42): "cortex-a78ae",
        (_ARM, 0xD4B): "cortex-a78c",
        (_ARM, 0xD47): "cortex-a710",
        (_ARM, 0xD4D): "cortex-a715",
        (_ARM, 0xD81): "cortex-a720",
        (_ARM, 0xD44): "cortex-x1",
        (_ARM, 0xD4C): "cortex-x1c",
        (_ARM, 0xD48): "cortex-x2",
        (_ARM, 0xD4E): "cortex-x3",
        (_ARM, 0xD82): "cortex-x4",
        (_ARM, 0xD0C): "neoverse-n1",
        (_ARM, 0xD49): "neoverse-n2",
        (_ARM, 0xD40): "neoverse-v1",
        (_ARM, 0xD4F): "neoverse-v2",
        (_ARM, 0xD84): "neoverse-v3",
        (_NVIDIA, 0x004): "carmel",
        (_QUALCOMM, 0x001): "oryon-1",
        (_QUALCOMM, 0x800): "cortex-a73",
        (_QUALCOMM, 0x802): "cortex-a75",
        (_QUALCOMM, 0x803): "cortex-a55",
        (_QUALCOMM, 0x804): "cortex-a76",
        (_QUALCOMM, 0x805): "cortex-a55",
        **{(_APPLE, part): "apple-a14" for part in (0x023, 0x025, 0x029)},
        **{(_APPLE, part): "apple-a15" for part in (0x033, 0x035, 0x039)},
        **{(_APPLE, part): "apple-a16" for part in (0x043, 0x045, 0x049)},
        (_APPLE, 0x053): "apple-m4",
        (_AMPERE, 0xAC3): "ampere1",
        (_AMPERE, 0xAC4): "ampere1a",
        (_AMPERE, 0xAC5): "ampere1b",
    }
)
"""Implementer and part number of the main ID register → LLVM's name."""

EFFICIENCY_PARTS: frozenset[tuple[int, int]] = frozenset(
    (_APPLE, part)
    for part in (0x022, 0x024, 0x028, 0x032, 0x034, 0x038, 0x042, 0x044, 0x048, 0x052)
)
"""Small cores that carry the name of a large one, beside it on the same silicon."""


def loads_per_cycle(cpu: str) -> float:
    """Return the vector loads that a core starts in a cycle; of an unknown one, two."""
    known = ARM_CORES.get(cpu)
    return 2.0 if known is None else known.loads


def keeps_order(cpu: str) -> bool:
    """Whether a processor begins instructions in order, or is not known to do better.

    LLVM schedules for one that it has no name of as for one that does.
    """
    known = ARM_CORES.get(cpu)
    return known is None or known.in_order
