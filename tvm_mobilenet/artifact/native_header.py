"""The C interface's header, and its names: two networks in one program need different ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tvm_mobilenet.errors import InputError

NATIVE = Path(__file__).parent / "native"
"""C sources of the C interface, and its header."""
PREFIX = "tvm_mobilenet"
"""What its names begin with where nothing else is asked for."""
VERSION = 1
"""What the header calls ``TVM_MOBILENET_VERSION``."""

_HEADER = NATIVE / "tvm_mobilenet.h"
_ALLOWED = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


def check_prefix(prefix: str) -> None:
    """Raise InputError for what C names cannot begin with."""
    if not _ALLOWED.fullmatch(prefix) or prefix.startswith("tmn"):
        raise InputError(
            f"C functions cannot be called {prefix}_run",
            "give a prefix of letters, digits and underscores, a letter first, and at most 64; "
            "those of the library's own begin with tmn",
        )


def renaming(prefix: str) -> list[str]:
    """Return the compiler's options that give the interface's functions other names."""
    if prefix == PREFIX:
        return []
    functions = sorted(set(re.findall(rf"\b{PREFIX}(_\w+)\(", _HEADER.read_text())))
    return [f"-D{PREFIX}{name}={prefix}{name}" for name in functions]


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
    InputError
        It has no C interface.
    """
    interface = manifest.get("c_interface")
    if interface is None:
        raise InputError(
            f"{manifest['title']} has no C interface",
            "compile it with the main stack, for a processor",
        )
    prefix = str(interface["prefix"])
    text = _HEADER.read_text().replace(PREFIX, prefix)
    text = text.replace(PREFIX.upper(), prefix.upper())
    # What it was compiled with, whatever this version's header says.
    return f"{_about(manifest)}\n{text}"


def _about(manifest: Mapping[str, Any]) -> str:
    lines = [str(manifest["title"]), f"for {manifest['target']['name']}"]
    for role in ("inputs", "outputs"):
        lines += [f"{role[:-1]} {number}: {_told(t)}" for number, t in enumerate(manifest[role])]
    return "/* " + "\n * ".join(_harmless(lines)) + "\n */"


def _told(tensor: Mapping[str, Any]) -> str:
    sizes = " x ".join(map(str, tensor["shape"]))
    return f"{tensor['name']}, {tensor['dtype']}, {sizes}, {tensor['layout']}"


def _harmless(lines: Iterable[str]) -> list[str]:
    """Return text that ends no comment and begins no line."""
    return [
        "".join(c if c.isprintable() else "?" for c in line).replace("*/", "* /").rstrip("\\")
        for line in lines
    ]
