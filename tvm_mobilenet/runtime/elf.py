"""Sections of an ELF file, found without loading or executing anything in it.

Section headers are read here with ``struct`` rather than with pyelftools, which
costs 50 ms and 7 MB of a process whose whole job may take less.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Collection
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple

from tvm_mobilenet.errors import NotAnArtifactError, TruncatedArtifactError

COMPILE = "compile it with `tvm-mobilenet compile`"
AGAIN = "copy or compile the file again"
RELOCATABLE, SHARED_OBJECT = 1, 3
"""ET_REL and ET_DYN: kinds of ELF file, what its ``e_type`` says."""
_NO_BITS = 8  # sh_type SHT_NOBITS: takes no room in the file


class Section(NamedTuple):
    """Where a section lies in its file, bytes."""

    offset: int
    size: int


def open_binary(path: Path) -> BufferedIOBase:
    """Open a file that should be an artifact.

    Raises
    ------
    NotAnArtifactError
        It cannot be read.
    """
    try:
        if not (stat.S_ISREG(mode := path.stat().st_mode) or stat.S_ISDIR(mode)):
            # A pipe would be waited for, and a device has no end.
            raise NotAnArtifactError(f"{path} is no regular file", COMPILE)
        return path.open("rb")
    except IsADirectoryError:
        raise NotAnArtifactError(f"{path} is a folder, not a file", COMPILE) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NotAnArtifactError(f"{path} cannot be read: {reason}", COMPILE) from error


def find_section(
    file: BufferedIOBase, path: Path, name: str, kinds: Collection[int] = (SHARED_OBJECT,)
) -> Section:
    """Walk the section headers of an ELF file (System V ABI, chapter 4).

    Parameters
    ----------
    file : binary file
        Open for reading.
    path : Path
        What messages call it.
    name : str
        The section's.
    kinds : collection of int
        Kinds of file to look into.

    Raises
    ------
    NotAnArtifactError
        No shared object, or whatever the kinds are, or one without such a section.
    TruncatedArtifactError
        Cut off or damaged.
    """
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    ident = file.read(64)
    if not b"\x7fELF".startswith(ident[:4]):
        raise NotAnArtifactError(f"{path} is not a shared object (no ELF header)", COMPILE)
    try:
        wide, order = ident[4] == 2, "<" if ident[5] == 1 else ">"
        fields = "HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"
        header = struct.unpack_from(order + fields, ident, 16)
        kind, table, (each, count, names_at) = header[0], header[5], header[10:13]
        if kind not in kinds:
            raise NotAnArtifactError(f"{path} is ELF, but no shared object", COMPILE)
        form = order + ("IIQQQQIIQQ" if wide else "IIIIIIIIII")
        if table == 0 or each < struct.calcsize(form):
            raise NotAnArtifactError(f"{path} has no sections, hence no manifest", COMPILE)
        file.seek(table)
        rows = [file.read(each) for _ in range(count)]
        headers = [struct.unpack_from(form, row) for row in rows]
        if any(h[1] != _NO_BITS and h[4] + h[5] > end for h in headers):
            raise TruncatedArtifactError(f"{path} is cut off", AGAIN)
        names = headers[names_at]
        file.seek(names[4])
        strings = file.read(min(names[5], end))
        for h in headers:
            # Not of a slice: with many headers and long names the copies would take for ever.
            if h[1] != _NO_BITS and strings.startswith(name.encode() + b"\0", h[0]):
                return Section(h[4], h[5])
    except (struct.error, IndexError, OSError, OverflowError, ValueError) as error:
        raise TruncatedArtifactError(f"{path} is cut off or damaged", AGAIN) from error
    raise NotAnArtifactError(
        f"{path} is a shared object without a manifest (no section {name})", COMPILE
    )


def read_section(file: BufferedIOBase, path: Path, name: str) -> bytes:
    """Read a section whole; the arguments are those of :func:`find_section`.

    Raises
    ------
    NotAnArtifactError, TruncatedArtifactError
        As from :func:`find_section`.
    """
    section = find_section(file, path, name)
    file.seek(section.offset)
    return file.read(section.size)
