"""How fast a processor computes and moves bytes, per core and cycle, for the cost model.

In cycles, because a :class:`TargetSpec` knows no clock. Only the first row was measured by
us; the others are typical figures of their families, good for rankings, not for times.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.machine import Dtype, Isa, TargetSpec
from tvm_mobilenet.machine.arm_cores import ARM_CORES

LEVELS = ("L1", "L2", "L3", "memory")
"""Where bytes come from, near to far."""

L3_SHARE = 1 / 3
"""Share of L3 that a network may count on: other cores and other machines on the same silicon
use it too. Measured on a 32 MB L3: 6.5 MB of weights and maps come back at its speed
(0.5/160), 14 MB at that of memory (0.75/192: 3 MB of classifier in 69 µs)."""


@dataclass(frozen=True, slots=True)
class Speeds:
    """One core, bytes a cycle unless said otherwise.

    Attributes
    ----------
    pipes : float
        Vector multiply-adds that start in a cycle, as the target's arithmetic says.
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


_Row = tuple[float, float, float, float, float]
"""All of them from `loads` to `memory_all`."""


# Zen 5 EPYC, 3.75 GHz: tvm_mobilenet/bench/bandwidth.py reads 187 to 225 GB/s from L2, 108 to
# 116 from L3, 36 to 40 from memory (39 to 47 on two cores); an empty parallel region took
# 0.66 µs, when it went to TVM's pool.
_BY_ISA: dict[Isa, _Row] = {
    "avx512": (2, 54, 29, 10, 12.5),
    # Intel 64 and IA-32 Optimization Reference Manual, Haswell: sustained L2 about 25.
    "avx2": (2, 28, 14, 5, 8),
    # One load a cycle (Nehalem, same manual).
    "sse": (1, 14, 8, 3, 6),
    # As a Neoverse N1.
    "neon": (2, 18, 10, 5, 12),
    "neon32": (0.5, 4, 4, 1.2, 2),
    # Assumed: as the small ARM cores of boards, of which RISC-V's are the like.
    "rvv": (1, 8, 4, 1.5, 3),
    "scalar": (1, 8, 4, 1.5, 3),
}

# Memory of the Raspberry Pi 3 and 4: about 2 and 4 GB/s at 1.2 and 1.5 GHz. The others are
# assumed: small ones as those of boards like these, large ones a half more than a Neoverse N1.
_SMALL, _MIDDLE, _LARGE = (6, 6, 1.5, 1.8), (9, 9, 2.2, 2.8), (28, 14, 7, 16)
_BYTES_OF_CORE: dict[str, tuple[float, float, float, float]] = {
    **dict.fromkeys(("cortex-a35", "cortex-a53", "cortex-a55"), _SMALL),
    **dict.fromkeys(("cortex-a57", "cortex-a72", "cortex-a73", "cortex-a75"), _MIDDLE),
    **{name: _LARGE for name, core in ARM_CORES.items() if core.pipes >= 4},
}
"""From `l2` to `memory_all`."""


def speeds_of(target: TargetSpec, dtype: Dtype = "float32") -> Speeds:
    """Return what is known, or assumed, of a processor that multiplies numbers of a type."""
    row = _BY_ISA[target.isa]
    if target.isa in ("neon", "neon32") and (core := ARM_CORES.get(target.core)):
        row = (core.loads, *_BYTES_OF_CORE.get(target.core, row[1:]))
    return Speeds(target.arithmetic(dtype).per_cycle, *row)
