"""LLVM's target triples, of those that artifacts can be linked and loaded for."""

from __future__ import annotations

import re

from tvm_mobilenet.errors import TargetError

# LLVM's spellings of an architecture → the machine an ELF header names.
_MACHINES = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "aarch64",
    "arm64": "aarch64",
    "riscv64": "riscv64",
}

_TRIPLE = re.compile(r"[A-Za-z0-9_.]+(-[A-Za-z0-9_.]+)*")


def machine_of(triple: str) -> str:
    """Return the ELF machine of a GNU/Linux triple.

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
    wanted = "gnueabihf" if machine == "arm" else "gnu"
    if parts[-1] != wanted:
        raise TargetError(
            f"triple {triple!r} does not name the {wanted!r} C library and ABI",
            f"TVM's runtime is built for {wanted} only: use {arch}-linux-{wanted}",
        )
    return machine
