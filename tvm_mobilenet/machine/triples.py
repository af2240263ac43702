"""LLVM's target triples, of those that artifacts can be linked and loaded for."""

from __future__ import annotations

import re
from typing import Literal

from tvm_mobilenet.errors import TargetError

# LLVM's spellings of an architecture → the machine an ELF header names.
_MACHINES = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "aarch64",
    "arm64": "aarch64",
    "riscv64": "riscv64",
}

Libc = Literal["glibc", "musl"]
"""The C library, and with it the dynamic linker, that a file is linked for."""

_TRIPLE = re.compile(r"[A-Za-z0-9_.]+(-[A-Za-z0-9_.]+)*")


def machine_of(triple: str) -> str:
    """Return the ELF machine of a triple for Linux with glibc or musl.

    Parameters
    ----------
    triple : str
        e.g. ``"armv7l-linux-gnueabihf"``.

    Raises
    ------
    TargetError
        The architecture, the system or the C library is not one that an
        artifact can be linked and loaded for.
    """
    if not _TRIPLE.fullmatch(triple):  # LLVM and messages get it as it is
        raise TargetError(
            f"{triple[:80]!r} is no target triple", "write one such as aarch64-linux-gnu"
        )
    arch, _, rest = triple.partition("-")
    machine = "arm" if arch.startswith("armv7") or arch == "arm" else _MACHINES.get(arch)
    if machine is None:
        raise TargetError(
            f"architecture {arch!r} of triple {triple!r} is not supported",
            "use one of x86_64, aarch64, armv7l or riscv64",
        )
    parts = rest.split("-")
    if "linux" not in parts:
        raise TargetError(
            f"triple {triple!r} is not for Linux",
            f"artifacts are ELF shared objects for Linux: use {arch}-linux-gnu",
        )
    abi = "eabihf" if machine == "arm" else ""
    if parts[-1] not in (f"gnu{abi}", f"musl{abi}"):
        raise TargetError(
            f"triple {triple!r} names neither 'gnu{abi}' nor 'musl{abi}' as C library and ABI",
            f"use {arch}-linux-gnu{abi}, or {arch}-linux-musl{abi} where musl is",
        )
    return machine


def libc_of(triple: str) -> Libc:
    """Return the C library of a triple that :func:`machine_of` accepts."""
    return "musl" if "-musl" in triple else "glibc"


def with_libc(triple: str, libc: Libc) -> str:
    """Return a triple as it is with another C library."""
    name = {"glibc": "gnu", "musl": "musl"}
    return triple.replace(f"-{name[libc_of(triple)]}", f"-{name[libc]}")
