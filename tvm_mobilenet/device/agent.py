"""The library that a session uploads, compiled for the board's machine (``agent.c``)."""

from __future__ import annotations

import functools
import importlib.util
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.artifact.native_header import NATIVE
from tvm_mobilenet.artifact.toolchain import find_linker
from tvm_mobilenet.common.scratch import scratch
from tvm_mobilenet.common.stacks import Stack
from tvm_mobilenet.errors import DeviceError
from tvm_mobilenet.machine import PRESETS
from tvm_mobilenet.runtime.native_library import TYPES

# e_machine of ELF headers (System V ABI and its supplements).
_MACHINES = {62: "x86_64", 183: "aarch64", 40: "arm", 243: "riscv64"}
_OPTIONS = ("-O1", "-std=gnu11", "-fvisibility=hidden", "-Wl,-s")


@functools.cache
def agent_for(machine: str, stack: Stack) -> bytes:
    """Compile the agent for a machine and a stack's TVM, once for this process.

    Parameters
    ----------
    machine : str
        As ELF headers name it, such as ``"aarch64"``.
    stack : {"relax", "relay"}
        Whose headers it is compiled with: those that are installed here.

    Returns
    -------
    bytes
        A shared object.

    Raises
    ------
    ToolchainError
        Nothing here compiles for that machine.
    """
    spec = next(spec for spec in PRESETS.values() if spec.machine == machine)
    with scratch() as folder:
        made = Path(folder) / "agent.so"
        find_linker(spec).fcompile(
            str(made),
            [str(Path(__file__).with_name("agent.c"))],
            [*_OPTIONS, *_headers(stack), "-ldl"],
        )
        return made.read_bytes()


def _headers(stack: Stack) -> list[str]:
    """Return the options that say which TVM, and where its headers are."""
    if stack == "relax":
        from tvm_ffi import libinfo

        return [f"-I{path}" for path in (*libinfo.include_paths(), NATIVE)]
    found = importlib.util.find_spec("tvm")
    assert found is not None  # or no session would have come about
    assert found.origin is not None
    folder = Path(found.origin).parent
    return ["-DRELAY", f"-I{folder / 'include'}", f"-I{folder / '3rdparty/dlpack/include'}"]


def machine_of_program(program: bytes, where: str) -> str:
    """Return the ELF machine of a program of the board.

    Raises
    ------
    DeviceError
        No ELF, or a machine that nothing here compiles for.
    """
    head = program[:20]
    if len(head) < 20 or not head.startswith(b"\x7fELF"):
        raise DeviceError(f"{where}: /bin/sh there is no ELF program", "use a Linux board")
    order = "<" if head[5] == 1 else ">"
    number = struct.unpack(order + "H", head[18:20])[0]
    if number not in _MACHINES or order == ">":
        raise DeviceError(
            f"{where} is of a machine that nothing here compiles for (ELF machine {number})",
            f"supported: {', '.join(sorted(_MACHINES.values()))}",
        )
    return _MACHINES[number]


def unpack_files(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Take apart what the agent's ``files`` returns: (path, content)."""
    at = 0
    while at < len(data):
        parts = []
        for _ in range(2):
            size = struct.unpack_from("<Q", data, at)[0]
            parts.append(data[at + 8 : at + 8 + size])
            at += 8 + size
        yield parts[0].decode(errors="replace"), parts[1]


def unpack_output(data: bytes) -> NDArray[Any]:
    """Make an array of what the agent's ``output`` returns: type, rank, sizes, elements."""
    kind, rank = struct.unpack_from("<2q", data)
    shape = struct.unpack_from(f"<{rank}q", data, 16)
    return np.frombuffer(data, TYPES[kind], offset=8 * (2 + rank)).reshape(shape)
