"""Describes a machine as a target, by what its system says: the one here, or a board."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

from tvm_mobilenet.errors import TargetError
from tvm_mobilenet.machine.cpu_names import cpu_of, fastest_cores
from tvm_mobilenet.machine.features import CPU_NEEDS, isa_of
from tvm_mobilenet.machine.host import (
    CPUINFO,
    TRIPLES,
    auxiliary,
    features_of,
    host_libc,
    host_machine,
)
from tvm_mobilenet.machine.presets import describe_cpu, nearest_preset
from tvm_mobilenet.machine.quota import cpu_quota
from tvm_mobilenet.machine.spec import TargetSpec
from tvm_mobilenet.machine.topology import SYSFS, caches_and_cores, read
from tvm_mobilenet.machine.triples import with_libc


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
        Where an ARM machine has large and small cores, caches and cores are those of
        the large ones.

    Raises
    ------
    TargetError
        Not Linux, or an architecture that nothing here compiles for.
    """
    machine = machine or host_machine()
    text = read(CPUINFO) if cpuinfo is None else cpuinfo
    hwcaps = auxiliary(machine) if cpuinfo is None else None
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
    l1, l2, l3, cores = caches_and_cores(sysfs, _planned_for(machine, cpuinfo, affinity))
    cores = min(cores, quota or cores)
    # Old kernels and some boards publish no caches: then the table's are better than none.
    caches = (l1, l2, l3) if l1 else (near.l1_bytes, near.l2_bytes, near.l3_bytes)
    if (machine, cpu) in CPU_NEEDS:
        vectors = machine == "riscv64" and "v" in have
        return describe_cpu("native", TRIPLES[machine], cpu, caches, cores, vectors=vectors)
    return _plain_armv7(have, caches, cores)


def _planned_for(machine: str, cpuinfo: str, affinity: Iterable[int]) -> tuple[int, ...]:
    """Return those of some logical processors that share work, without small cores beside large."""
    allowed = sorted(affinity)
    fast = fastest_cores(cpuinfo)[1] if machine in ("aarch64", "arm") else frozenset()
    return tuple(cpu for cpu in allowed if cpu in fast) or tuple(allowed)


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
        triple=TRIPLES["arm"],
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
