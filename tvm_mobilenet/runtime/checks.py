"""Whether a machine can run an artifact with host code, found out before ``dlopen``."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from typing import Any

from tvm_mobilenet.artifact.containers import container_of
from tvm_mobilenet.common.stacks import PACKAGES, SIGNIFICANT, check_stack, versions_of
from tvm_mobilenet.errors import (
    AbiError,
    ArchitectureError,
    CpuFeatureError,
    RuntimeLibraryError,
    StackError,
)
from tvm_mobilenet.machine.triples import Libc, libc_of, with_libc


def check_machine(manifest: Mapping[str, Any], where: str) -> None:
    """Refuse host code that this machine or this installation cannot run.

    Raises
    ------
    ArchitectureError, CpuFeatureError, AbiError, RuntimeLibraryError
        As from :func:`tvm_mobilenet.runtime.check_here`.
    """
    from tvm_mobilenet.machine.host import host_cpu_features, host_libc, host_machine

    here, system = host_machine(), "linux" if sys.platform == "linux" else sys.platform
    if (manifest["machine"], manifest["os"]) != (here, system):
        raise ArchitectureError(
            f"{where} is for {manifest['machine']} on {manifest['os']}, "
            f"and this is {here} on {system}",
            "run it there, or compile with --target native",
        )
    check_libc(manifest, host_libc(), where=where)
    versions = _installed(manifest, where) if needs_tvm(manifest) else None
    check_fits(manifest, here, host_cpu_features(), versions, where=where)


def needs_tvm(manifest: Mapping[str, Any]) -> bool:
    """Whether an artifact of host code has TVM's door alone."""
    return "c_interface" not in manifest


def _installed(manifest: Mapping[str, Any], where: str) -> Mapping[str, str]:
    """Return the versions of the packages that run an artifact."""
    stack = check_stack(manifest["stack"], where)
    versions = versions_of(stack)
    for package, key in PACKAGES[stack].items():
        if package not in versions:
            raise RuntimeLibraryError(
                f"{package} is not installed",
                f"install it with `pip install {package}=={manifest[key]}`",
            )
    return versions


def check_libc(
    manifest: Mapping[str, Any],
    libc: Libc,
    *,
    where: str = "the artifact",
    board: str = "this machine",
) -> None:
    """Refuse an artifact that is linked for another C library, before the system's loader does.

    Parameters
    ----------
    manifest : mapping
        The artifact's.
    libc : {"glibc", "musl"}
        What is there.
    where, board : str
        What messages call the artifact and the machine.

    Raises
    ------
    ArchitectureError
        It is.
    """
    triple = manifest["target"]["triple"]
    if libc_of(triple) != libc:
        raise ArchitectureError(
            f"{where} is linked for {libc_of(triple)}, and the C library of {board} is {libc}",
            f"compile it with --target {with_libc(triple, libc)}",
        )


def check_fits(
    manifest: Mapping[str, Any],
    machine: str,
    features: Collection[str],
    versions: Mapping[str, str] | None,
    *,
    where: str = "the artifact",
    board: str = "this machine",
) -> None:
    """Refuse an artifact that some machine cannot run.

    Parameters
    ----------
    manifest : mapping
        The artifact's.
    machine : str
        Its ELF machine.
    features : collection of str
        What the processor has, as ``/proc/cpuinfo`` spells it.
    versions : mapping or None
        Versions of the packages apache-tvm and apache-tvm-ffi there; None where TVM is not what
        runs it.
    where, board : str
        What messages call the artifact and the machine.

    Raises
    ------
    ArchitectureError, CpuFeatureError, AbiError
        As from :func:`check_machine`.
    """
    container = container_of(manifest)
    if container is not None and container.kind == "launches":
        raise ArchitectureError(
            f"{where} holds OpenCL or Metal kernels, which {board} cannot launch through TVM",
            "run it there with `tvm-mobilenet run`, where OpenCL and pyopencl are installed",
        )
    if manifest["machine"] != machine:
        raise ArchitectureError(
            f"{where} is for {manifest['machine']}, and {board} is {machine}",
            "compile it with another --target",
        )
    if missing := sorted(set(manifest["needs"]) - set(features)):
        raise CpuFeatureError(
            f"{where} needs CPU features that {board} lacks: {', '.join(missing)}",
            "compile with --target native there, or with a lower level such as x86-64-v3",
        )
    if versions is None:
        return
    packages = PACKAGES.get(manifest["stack"], {})
    if not packages.keys() <= versions.keys():
        raise StackError(
            f"{where} was built for TVM's {manifest['stack']!r} stack, which {board} has not",
            "compile it with the stack that is there",
        )
    for package, key in packages.items():
        built, there = manifest[key], versions[package]
        parts = SIGNIFICANT[package]
        if there.split(".")[:parts] != built.split(".")[:parts]:
            raise AbiError(
                f"{where} was built for {package} {built}, and {board} has {there}",
                f"compile it again, or there `pip install {package}=={built}`",
            )
