"""The processor that this process runs on: its name and what it can do. Reads /proc, never TVM."""

from __future__ import annotations

import functools
import os
import platform
import sys
from pathlib import Path

from tvm_mobilenet.errors import TargetError
from tvm_mobilenet.machine.cpu_names import fields
from tvm_mobilenet.machine.features import HWCAPS
from tvm_mobilenet.machine.topology import read
from tvm_mobilenet.machine.triples import Libc

CPUINFO = Path("/proc/cpuinfo")

TRIPLES = {
    "x86_64": "x86_64-linux-gnu",
    "aarch64": "aarch64-linux-gnu",
    "arm": "armv7l-linux-gnueabihf",
    "riscv64": "riscv64-linux-gnu",
}


@functools.cache
def host_cpu_features() -> frozenset[str]:
    """Return what this processor can run, in the vocabulary of /proc/cpuinfo.

    Returns
    -------
    frozenset of str
        Comparable with :attr:`TargetSpec.needs`. Everywhere but on x86 the
        kernel's auxiliary vector is read: it tells the truth to a 32-bit process
        on a 64-bit kernel and under QEMU, where /proc/cpuinfo does not.
    """
    machine = host_machine()
    return features_of(machine, read(CPUINFO), auxiliary(machine))


def processor_name() -> str:
    """Return what this machine calls its processor, for people; its architecture at least."""
    return named_in(read(CPUINFO)) or platform.machine()


def named_in(cpuinfo: str) -> str:
    """Return what ``/proc/cpuinfo`` calls a processor; "" where it has no name."""
    names = fields(cpuinfo, "model name") or fields(cpuinfo, "Model")
    return names[0] if names else ""


def host_machine() -> str:
    """Return the ELF machine that this process is built for.

    Raises
    ------
    TargetError
        Not Linux, or an architecture that nothing here compiles for.
    """
    name = platform.machine().lower()
    wide = sys.maxsize > 2**32
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)
    if not wide and (machine == "aarch64" or machine.startswith("armv7")):
        machine = "arm"  # a 32-bit Python, whatever the kernel is
    elif not wide or machine.startswith("arm"):
        machine = f"32-bit {name}"
    if not sys.platform.startswith("linux") or machine not in TRIPLES:
        raise TargetError(
            f"this machine ({sys.platform}, {machine}) is not one that code can be compiled for",
            "name the machine that will run it: `tvm-mobilenet targets` lists them",
        )
    return machine


def host_libc() -> Libc:
    """Return the C library that this process runs on."""
    try:
        glibc = os.confstr("CS_GNU_LIBC_VERSION")  # its name and version; others have no such value
    except (OSError, ValueError):
        glibc = None
    return "glibc" if glibc else "musl"


def features_of(machine: str, cpuinfo: str, hwcaps: tuple[int, int] | None) -> frozenset[str]:
    """Return what a processor can run, in the vocabulary of /proc/cpuinfo.

    Parameters
    ----------
    machine : str
        ELF machine.
    cpuinfo : str
        Text of ``/proc/cpuinfo``.
    hwcaps : (int, int), optional
        Feature words of the auxiliary vector, which decide where they are given.
    """
    if hwcaps is not None:
        return frozenset(
            name
            for bits, table in zip(hwcaps, HWCAPS[machine], strict=True)
            for name, bit in table.items()
            if bits >> bit & 1
        )
    # Cores may differ (big.LITTLE): a thread can land on any of them.
    lines = fields(cpuinfo, "flags" if machine == "x86_64" else "Features")
    per_core = [frozenset(line.split()) for line in lines]
    return frozenset.intersection(*per_core) if per_core else frozenset()


def auxiliary(machine: str) -> tuple[int, int] | None:
    """Return the kernel's feature bits (on x86 glibc puts its own in their place)."""
    if machine not in HWCAPS:
        return None
    return _auxiliary_value(16), _auxiliary_value(26)  # AT_HWCAP, AT_HWCAP2 of <elf.h>


def _auxiliary_value(key: int) -> int:
    import ctypes

    get = ctypes.CDLL(None).getauxval
    get.restype, get.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    return int(get(key))
