"""From what Linux calls a processor to LLVM's name of it."""

from __future__ import annotations

import re

from tvm_mobilenet.machine.features import CPU_NEEDS

_X86_LEVELS = ("x86-64-v4", "x86-64-v3", "x86-64-v2", "x86-64")
# Implementer and part number of the main ID register → LLVM's name (Arm TRMs).
_ARM_PARTS = {
    (0x41, 0xC07): "cortex-a7",
    (0x41, 0xD03): "cortex-a53",
    (0x41, 0xD08): "cortex-a72",
    (0x41, 0xD0B): "cortex-a76",
    (0x41, 0xD0C): "neoverse-n1",
}


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
    parts = {
        (int(i, 16), int(p, 16))
        for i, p in zip(
            fields(cpuinfo, "CPU implementer"), fields(cpuinfo, "CPU part"), strict=False
        )
    }
    cpu = _ARM_PARTS.get(parts.pop(), "") if len(parts) == 1 else ""
    return cpu if cpu and have.issuperset(CPU_NEEDS.get((machine, cpu), ("?",))) else ""


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
