"""The machine that this process runs on. Reads /proc and /sys, never TVM."""

from __future__ import annotations

import dataclasses
import functools
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

from tvm_mobilenet.errors import TargetError
from tvm_mobilenet.machine.cpu_names import cpu_of, fields
from tvm_mobilenet.machine.features import CPU_NEEDS, HWCAPS, isa_of
from tvm_mobilenet.machine.presets import describe_cpu, nearest_preset
from tvm_mobilenet.machine.quota import cpu_quota
from tvm_mobilenet.machine.spec import TargetSpec
from tvm_mobilenet.machine.topology import SYSFS, caches_and_cores, read
from tvm_mobilenet.machine.triples import Libc, with_libc

_CPUINFO = Path("/proc/cpuinfo")

_TRIPLES = {
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
    return features_of(machine, read(_CPUINFO), _auxiliary(machine))


def host(
    *,
    cpuinfo: str | None = None,
    sysfs: Path | None = None,
    machine: str | None = None,
    affinity: Iterable[int] | None = None,
) -> TargetSpec:
    """Describe this machine; the arguments stand in for another one's.

    Parameters
    ----------
    cpuinfo : str, optional
        Text of ``/proc/cpuinfo``.
    sysfs : Path, optional
        Folder that takes the place of ``/sys/devices/system/cpu``.
    machine : str, optional
        ELF machine.
    affinity : iterable of int, optional
        Logical processors that this process may use; of this machine's, no more than
        :func:`~tvm_mobilenet.machine.quota.cpu_quota` grants.

    Returns
    -------
    TargetSpec
        Named ``"native"``. The processor is the exact one where a table knows
        it and this machine has all that LLVM would use for it (a virtual
        machine may hide features), else its level (x86-64-v4, …) or baseline.

    Raises
    ------
    TargetError
        Not Linux, or an architecture that nothing here compiles for.
    """
    machine = machine or host_machine()
    text = read(_CPUINFO) if cpuinfo is None else cpuinfo
    hwcaps = _auxiliary(machine) if cpuinfo is None else None
    quota = cpu_quota() if affinity is None else None
    allowed = os.sched_getaffinity(0) if affinity is None else affinity
    spec = describe_machine(machine, text, hwcaps, sysfs or SYSFS, allowed, quota=quota)
    return dataclasses.replace(spec, triple=with_libc(spec.triple, host_libc()))


def describe_machine(
    machine: str,
    cpuinfo: str,
    hwcaps: tuple[int, int] | None,
    sysfs: Path,
    affinity: Iterable[int],
    *,
    quota: int | None = None,
) -> TargetSpec:
    """Describe a machine by what its system says.

    Parameters
    ----------
    machine : str
        ELF machine.
    cpuinfo : str
        Text of ``/proc/cpuinfo``.
    hwcaps : (int, int), optional
        Feature words of the auxiliary vector (not on x86).
    sysfs : Path
        ``/sys/devices/system/cpu``, or a copy.
    affinity : iterable of int
        Logical processors to count.
    quota : int, optional
        The most of them that may be busy at a time.

    Returns
    -------
    TargetSpec
        As from :func:`host`.

    Raises
    ------
    TargetError
        A 32-bit ARM processor without NEON.
    """
    have = features_of(machine, cpuinfo, hwcaps)
    cpu = cpu_of(machine, cpuinfo, have)
    near = nearest_preset(machine, cpu, have)
    l1, l2, l3, cores = caches_and_cores(sysfs, tuple(sorted(affinity)))
    cores = min(cores, quota or cores)
    # Old kernels and some boards publish no caches: then the table's are better than none.
    caches = (l1, l2, l3) if l1 else (near.l1_bytes, near.l2_bytes, near.l3_bytes)
    if (machine, cpu) in CPU_NEEDS:
        vectors = machine == "riscv64" and "v" in have
        return describe_cpu("native", _TRIPLES[machine], cpu, caches, cores, vectors=vectors)
    return _plain_armv7(have, caches, cores)


def processor_name() -> str:
    """Return what this machine calls its processor, for people; its architecture at least."""
    return named_in(read(_CPUINFO)) or platform.machine()


def named_in(cpuinfo: str) -> str:
    """Return what ``/proc/cpuinfo`` calls a processor; "" where it has no name."""
    names = fields(cpuinfo, "model name") or fields(cpuinfo, "Model")
    return names[0] if names else ""


def _plain_armv7(have: frozenset[str], caches: tuple[int, int, int], cores: int) -> TargetSpec:
    needs = {"edsp", "vfp", "vfpv3", "vfpd32", "neon"}
    if not needs <= have:
        raise TargetError(
            "this 32-bit ARM processor has no NEON",
            "choose another target; the oldest is rpi2 (Cortex-A7)",
        )
    features: tuple[str, ...] = ()
    if "vfpv4" in have:
        features, needs = ("+vfp4",), {*needs, "vfpv4"}
    isa, lanes, registers, fma = isa_of("arm", needs)
    l1, l2, l3 = caches
    return TargetSpec(
        name="native",
        triple=_TRIPLES["arm"],
        cpu="",
        features=features,
        isa=isa,
        lanes=lanes,
        registers=registers,
        fma=fma,
        l1_bytes=l1,
        l2_bytes=l2,
        l3_bytes=l3,
        cores=cores,
        needs=tuple(sorted(needs)),
    )


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
    if not sys.platform.startswith("linux") or machine not in _TRIPLES:
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


def _auxiliary(machine: str) -> tuple[int, int] | None:
    """Return the kernel's feature bits (on x86 glibc puts its own in their place)."""
    if machine not in HWCAPS:
        return None
    return _auxiliary_value(16), _auxiliary_value(26)  # AT_HWCAP, AT_HWCAP2 of <elf.h>


def _auxiliary_value(key: int) -> int:
    import ctypes

    get = ctypes.CDLL(None).getauxval
    get.restype, get.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    return int(get(key))
