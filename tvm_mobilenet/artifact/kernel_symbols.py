"""Four names in TVM's object files, changed so that two doors can lead to the same kernels.

Kernels call three functions by pointers that TVM's loader finds by their names and fills in, and
one function of TVM's by its name. If these were the pointers that kernels look at, one door would
have to take them from the other while it is in use. So kernels get pointers of their own, which
``native/doors.c`` defines, and TVM's loader goes on filling those that it knows.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

from tvm_mobilenet.errors import CodegenError

_RENAMED = {
    "__TVMBackendParallelLaunch": "__tmnBackendParallelLaunch",
    "__TVMBackendAllocWorkspace": "__tmnBackendAllocWorkspace",
    "__TVMBackendFreeWorkspace": "__tmnBackendFreeWorkspace",
    "TVMFFIErrorSetRaisedFromCStrParts": "tmnFFIErrorSetRaisedFromCStrParts",
}
"""Names of the same length each, because one is changed where it stands."""


def rename_for_two_doors(path: str | os.PathLike[str]) -> None:
    """Change the names in an object file, in place; one that has none of them stays as it is.

    Parameters
    ----------
    path : path-like
        As TVM's code generator wrote it, for any ELF target.

    Raises
    ------
    CodegenError
        Another name would change too, because the file keeps one within the other.
    """
    data = bytearray(Path(path).read_bytes())
    before = _names(bytes(data))
    table = _symbols(bytes(data))
    strings = table.stringtable["sh_offset"]
    for symbol in table.iter_symbols():
        if renamed := _RENAMED.get(symbol.name):
            at = strings + symbol["st_name"]
            data[at : at + len(renamed)] = renamed.encode()
    after = _names(bytes(data))
    if after != [_RENAMED.get(name, name) for name in before]:
        raise CodegenError(
            "a name in TVM's object file is part of another one, and cannot be changed alone",
            "please report the network",
        )
    if after != before:
        Path(path).write_bytes(data)


def _symbols(data: bytes) -> Any:
    return ELFFile(io.BytesIO(data)).get_section_by_name(".symtab")


def _names(data: bytes) -> list[str]:
    return [symbol.name for symbol in _symbols(data).iter_symbols()]
