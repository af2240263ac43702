"""From what Linux calls a processor to LLVM's name of it."""

from __future__ import annotations

import re

from tvm_mobilenet.machine.arm_cores import (
    ARM_CORES,
    ARM_PARTS,
    EFFICIENCY_PARTS,
    keeps_order,
)
from tvm_mobilenet.machine.features import CPU_NEEDS

_X86_LEVELS = ("x86-64-v4", "x86-64-v3", "x86-64-v2", "x86-64")


def fields(cpuinfo: str, name: str) -> list[str]:
    """Return what a field of ``/proc/cpuinfo`` says, of every processor that has it."""
    return re.findall(rf"^{name}\s*:\s*(.*)$", cpuinfo, flags=re.MULTILINE)


def cpu_of(machine: str, cpuinfo: str, have: frozenset[str]) -> str:
    """Return LLVM's name of a processor, of those that a table knows.

    Parameters
    ----------
    machine : str
        ELF machine.
    cpuinfo : str
        Text of ``/proc/cpuinfo``.
    have : frozenset of str
        What it can run: a virtual machine may hide features that LLVM would use for the exact
        name. Then its level (x86-64-v4, …) is returned, or ``""``, the baseline.
    """
    if machine == "x86_64":
        exact = _x86_model(cpuinfo)
        for cpu in (exact, *_X86_LEVELS):
            if cpu and have.issuperset(CPU_NEEDS[machine, cpu]):
                return cpu
        return "x86-64"
    cpu = fastest_cores(cpuinfo)[0]
    return cpu if cpu and have.issuperset(CPU_NEEDS.get((machine, cpu), ("?",))) else ""


def fastest_cores(cpuinfo: str) -> tuple[str, frozenset[int]]:
    """Return what to plan for where an ARM machine has several kinds of core.

    Work that all of them share equally waits for the slowest, so that those that begin
    instructions in order, or are named efficiency cores, are left out beside others.

    Returns
    -------
    str, frozenset of int
        LLVM's name of the fastest core, "" where a part is not known; the numbers of the
        logical processors that are planned for, none where all are.
    """
    parts = _parts(cpuinfo)
    names = {ARM_PARTS.get(part, "") for part in parts.values() if part not in EFFICIENCY_PARTS}
    if not names or "" in names:
        return "", frozenset()
    large = {name for name in names if not keeps_order(name)}
    best = max(sorted(large or names), key=lambda name: ARM_CORES[name].pipes if large else 0)
    if len(set(parts.values())) == 1:
        return best, frozenset()
    kept = large or names
    return best, frozenset(cpu for cpu, part in parts.items() if ARM_PARTS.get(part) in kept)


def _parts(cpuinfo: str) -> dict[int, tuple[int, int]]:
    """Return implementer and part number of every logical processor."""
    found: dict[int, tuple[int, int]] = {}
    number, implementer = 0, 0
    for key, value in re.findall(
        r"^(processor|CPU implementer|CPU part)\s*:\s*(\w+)", cpuinfo, re.MULTILINE
    ):
        if key == "processor":
            number = int(value)
        elif key == "CPU implementer":
            implementer = int(value, 16)
        else:
            found[number] = (implementer, int(value, 16))
    return found


def _x86_model(cpuinfo: str) -> str:
    """Return LLVM's name for a vendor, family and model, or ``""`` (LLVM ``Host.cpp``)."""
    try:
        vendor = fields(cpuinfo, "vendor_id")[0]
        family, model, stepping = (
            int(fields(cpuinfo, name)[0]) for name in ("cpu family", "model", "stepping")
        )
    except (IndexError, ValueError):
        return ""
    if vendor == "AuthenticAMD":
        return _amd(family, model)
    if vendor == "GenuineIntel" and family == 6:
        if model == 85 and stepping >= 5:
            return "cascadelake"
        return _INTEL.get(model, "")
    return ""


_INTEL = {
    **dict.fromkeys((60, 63, 69, 70), "haswell"),
    **dict.fromkeys((78, 94, 142, 158), "skylake"),
    85: "skylake-avx512",
    **dict.fromkeys((106, 108), "icelake-server"),
    **dict.fromkeys((143, 207), "sapphirerapids"),
}


def _amd(family: int, model: int) -> str:
    if family == 0x17:
        return "znver2" if model >= 0x30 else "znver1"
    if family == 0x19:
        zen4 = 0x10 <= model <= 0x1F or 0x60 <= model <= 0x7F or 0xA0 <= model <= 0xAF
        return "znver4" if zen4 else "znver3"
    return "znver5" if family == 0x1A else ""
