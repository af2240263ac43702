"""Names in object files, changed where two things of one name would meet.

Kernels call three functions by pointers that TVM's loader finds by their names and fills in, and
one function of TVM's by its name. If these were the pointers that kernels look at, one door would
have to take them from the other while it is in use. So kernels get pointers of their own, which
``native/doors.c`` defines, and TVM's loader goes on filling those that it knows.

In an object that is linked into a program, all names but the C interface's get its prefix: a
program may have two networks with the same kernels.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

_RENAMED = {
    "__TVMBackendParallelLaunch": "__tmnBackendParallelLaunch",
    "__TVMBackendAllocWorkspace": "__tmnBackendAllocWorkspace",
    "__TVMBackendFreeWorkspace": "__tmnBackendFreeWorkspace",
    "TVMFFIErrorSetRaisedFromCStrParts": "tmnFFIErrorSetRaisedFromCStrParts",
}


def rename_for_two_doors(path: str | os.PathLike[str]) -> None:
    """Change the four names in an object file, in place; one without them stays as it is.

    Parameters
    ----------
    path : path-like
        As TVM's code generator wrote it, for any ELF target.
    """
    _rename(path, lambda symbol: _RENAMED.get(symbol.name))


def hide_names(path: str | os.PathLike[str], prefix: str, public: Collection[str]) -> None:
    """Let programs see no other names of an object file than those given, in place.

    Parameters
    ----------
    path : path-like
        For any ELF target. What it needs of others keeps its name; what it can do without,
        weak symbols, nobody has under the new ones.
    prefix : str
        What all other names begin with afterwards, and a dot, which no name in C has. They are
        hidden, too: a library that is made of the object does not export them.
    public : collection of str
        Names that stay.
    """

    def renamed(symbol: Any) -> str | None:
        bind = symbol["st_info"]["bind"]
        is_needed = symbol["st_shndx"] == "SHN_UNDEF" and bind != "STB_WEAK"
        if bind == "STB_LOCAL" or is_needed or symbol.name in public:
            return None
        symbol["st_other"]["visibility"] = "STV_HIDDEN"
        return f"{prefix}.{symbol.name}"

    _rename(path, renamed)


def defines(path: str | os.PathLike[str], name: str) -> bool:
    """Return whether an object file has a symbol, not only a use of it."""
    return any(
        symbol.name == name and symbol["st_shndx"] != "SHN_UNDEF"
        for symbol in _symbols(Path(path).read_bytes())[1].iter_symbols()
    )


def _rename(path: str | os.PathLike[str], renamed: Callable[[Any], str | None]) -> None:
    """Give symbols the names that `renamed` returns; None keeps one."""
    data = bytearray(Path(path).read_bytes())
    elf, table = _symbols(bytes(data))
    strings = table.stringtable
    added = bytearray()
    for number, symbol in enumerate(table.iter_symbols()):
        if name := renamed(symbol):
            symbol.entry["st_name"] = strings["sh_size"] + len(added)
            added += name.encode() + b"\0"
            at, size = table["sh_offset"] + number * table["sh_entsize"], table["sh_entsize"]
            data[at : at + size] = elf.structs.Elf_Sym.build(symbol.entry)
    if not added:
        return
    # A longer table of strings at the end of the file: where it was there is no room, and an
    # assembler may keep a name once where another one ends in it.
    at = elf["e_shoff"] + table["sh_link"] * elf["e_shentsize"]
    old = bytes(data[strings["sh_offset"] : strings["sh_offset"] + strings["sh_size"]])
    strings.header.update(sh_offset=len(data), sh_size=len(old) + len(added))
    data[at : at + elf["e_shentsize"]] = elf.structs.Elf_Shdr.build(strings.header)
    Path(path).write_bytes(data + old + added)


def _symbols(data: bytes) -> tuple[ELFFile, Any]:
    elf = ELFFile(io.BytesIO(data))
    return elf, elf.get_section_by_name(".symtab")
