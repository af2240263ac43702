"""How fast a processor computes and moves bytes, per core and cycle, for the cost model.

In cycles, because a :class:`TargetSpec` knows no clock. Only the first row was measured by
us; the others are typical figures of their families, good for rankings, not for times.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.target import Isa, TargetSpec

LEVELS = ("L1", "L2", "L3", "memory")
"""Where bytes come from, near to far."""

L3_SHARE = 1 / 3
"""Of L3 that a network may count on: other cores and other machines on the same silicon
use it too. Measured on a 32 MB L3: 6.5 MB of weights and maps come back at its speed
(0.5/160), 14 MB at that of memory (0.75/192: 3 MB of classifier in 69 µs)."""


@dataclass(frozen=True, slots=True)
class Speeds:
    """One core, bytes a cycle unless said otherwise.

    Attributes
    ----------
    pipes : float
        Vector multiply-adds that start in a cycle.
    loads : float
        Vector loads that start in a cycle.
    l2, l3, memory : float
        Reading from there.
    memory_all : float
        Reading from memory, all cores together.
    region : int
        Cycles to hand out a parallel region and join it.
    """

    pipes: float
    loads: float
    l2: float
    l3: float
    memory: float
    memory_all: float
    region: int = 2500


# Zen 5 EPYC, 3.75 GHz: tvm_mobilenet/bench/bandwidth.py reads 187 to 225 GB/s from L2, 108 to
# 116 from L3, 36 to 40 from memory (39 to 47 on two cores); bench/region.py 0.66 µs.
_BY_ISA: dict[Isa, Speeds] = {
    "avx512": Speeds(2, 2, 54, 29, 10, 12.5),
    # Intel 64 and IA-32 Optimization Reference Manual, Haswell: sustained L2 about 25.
    "avx2": Speeds(2, 2, 28, 14, 5, 8),
    # Multiply and add are two instructions; one load a cycle (Nehalem, same manual).
    "sse": Speeds(1, 1, 14, 8, 3, 6),
    # Arm Neoverse N1 Software Optimization Guide: two 128-bit pipes, two loads.
    "neon": Speeds(2, 2, 18, 10, 5, 12),
    # Cortex-A7: a quarter of a 128-bit vector a cycle (VMLA by 32-bit halves).
    "neon32": Speeds(0.25, 0.5, 4, 4, 1.2, 2),
    "scalar": Speeds(1, 1, 8, 4, 1.5, 3),
}

# Arm Software Optimization Guides: one 128-bit (A72) or 64-bit (A53) multiply-add a cycle;
# memory of the Raspberry Pi 3 and 4: about 2 and 4 GB/s at 1.2 and 1.5 GHz.
_BY_CPU: dict[str, Speeds] = {
    "cortex-a53": Speeds(0.5, 0.5, 6, 6, 1.5, 1.8),
    "cortex-a72": Speeds(1, 1, 9, 9, 2.2, 2.8),
}
_SMALL = "cortex-a72"
"""What an unknown 64-bit ARM is taken for."""


def speeds_of(target: TargetSpec) -> Speeds:
    """Return what is known, or assumed, of a processor.

    Parameters
    ----------
    target : TargetSpec
    """
    if target.isa in ("neon", "neon32") and target.cpu in _BY_CPU:
        return _BY_CPU[target.cpu]
    if target.isa == "neon" and not target.cpu:
        return _BY_CPU[_SMALL]
    return _BY_ISA[target.isa]
