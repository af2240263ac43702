"""The C interface's header, and its names: two networks in one program need different ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tvm_mobilenet.errors import CInterfaceError, InputError

NATIVE = Path(__file__).parent / "native"
"""C sources of the C interface, and its header."""
PREFIX = "tvm_mobilenet"
"""What its names begin with where nothing else is asked for."""
VERSION = 1
"""What the header calls ``TVM_MOBILENET_VERSION``."""

_HEADER = NATIVE / "tvm_mobilenet.h"
_ALLOWED = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
# As in pthread_create, sem_destroy, aio_error: what C libraries call their own.
_TAKEN = frozenset({"aio", "clock", "cnd", "mq", "mtx", "pthread", "sem", "thrd", "timer", "tss"})


def check_prefix(prefix: str) -> None:
    """Raise InputError for what C names cannot begin with, or the C library's begin with."""
    if not _ALLOWED.fullmatch(prefix) or prefix.startswith("tmn"):
        raise InputError(
            f"C functions cannot be called {prefix}_run",
            "give a prefix of letters, digits and underscores, a letter first, and at most 64; "
            "those of the library's own begin with tmn",
        )
    if prefix in _TAKEN:
        raise InputError(
            f"the C library has functions of its own that begin with {prefix}_",
            f"give another prefix, such as {prefix}_net",
        )


def functions(prefix: str) -> dict[str, str]:
    """Return the interface's functions: as its sources call them, and as an artifact does."""
    found = sorted(set(re.findall(rf"\b{PREFIX}(_\w+)\(", _HEADER.read_text())))
    return {PREFIX + name: prefix + name for name in found}


def renaming(prefix: str) -> list[str]:
    """Return the compiler's options that give the interface's functions other names."""
    if prefix == PREFIX:
        return []
    return [f"-D{name}={renamed}" for name, renamed in functions(prefix).items()]


def header(manifest: Mapping[str, Any]) -> str:
    """Return the header of an artifact, for programs in C and C++.

    Everything in it has the artifact's prefix, so that headers of several networks can be
    included side by side.

    Parameters
    ----------
    manifest : mapping
        What the artifact says of itself.

    Raises
    ------
    CInterfaceError
        It has no C interface.
    """
    prefix = prefix_of(manifest)
    names = {PREFIX: prefix, PREFIX.upper(): prefix.upper()}
    text = re.sub("|".join(names), lambda found: names[found[0]], _HEADER.read_text())
    # What it was compiled with, whatever this version's header says.
    return f"{_about(manifest)}\n{text}"


def prefix_of(manifest: Mapping[str, Any]) -> str:
    """Return what the names of an artifact's C functions begin with.

    Raises
    ------
    CInterfaceError
        It has none.
    """
    interface = manifest.get("c_interface")
    if interface is None:
        raise CInterfaceError(
            f"{manifest['title']} has no C interface",
            "the main stack makes one for a processor, where nothing but kernels runs; "
            "-v tells what else does",
        )
    return str(interface["prefix"])


def one_line(text: str) -> str:
    """Return text that ends no comment in C, begins no line and means nothing to pkg-config."""
    shown = "".join(c if c.isprintable() and c not in "$#\\" else "?" for c in text)
    return shown.replace("*/", "* /")


def _about(manifest: Mapping[str, Any]) -> str:
    lines = [str(manifest["title"]), f"for {manifest['target']['name']}"]
    for role in ("inputs", "outputs"):
        lines += [f"{role[:-1]} {number}: {_told(t)}" for number, t in enumerate(manifest[role])]
    return "/* " + "\n * ".join(map(one_line, lines)) + "\n */"


def _told(tensor: Mapping[str, Any]) -> str:
    sizes = " x ".join(map(str, tensor["shape"]))
    return f"{tensor['name']}, {tensor['dtype']}, {sizes}, {tensor['layout']}"
