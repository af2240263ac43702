"""What compiling writes: a shared object, or a network to link into a program."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

from tvm_mobilenet.common.lists import check_one_of
from tvm_mobilenet.errors import InputError

Emit = Literal["so", "a", "object", "c-header"]
SHARED: Emit = "so"
"""What is written where nothing else is asked for, and what has TVM's door, too."""
STATIC: tuple[Emit, ...] = ("a", "object")
"""What becomes part of a program as that is linked."""
HEADER: Emit = "c-header"
"""What takes no linking."""

_NAMES: dict[Emit, tuple[str, str]] = {
    "so": ("a shared object", ".so"),
    "a": ("a static archive", ".a"),
    "object": ("a relocatable object", ".o"),
    "c-header": ("a header", ".h"),
}


def suffix_of(emit: Emit) -> str:
    """Return what the name of such a file ends in."""
    return _NAMES[emit][1]


def check_emit(emit: str) -> None:
    """Raise InputError for what nothing here writes."""
    check_one_of(emit, get_args(Emit), "emit", InputError)


def check_name(path: str | os.PathLike[str], emit: Emit) -> None:
    """Raise InputError for a file's name that says it were something else.

    A shared object may have any name that is none of the others': some end in a version.
    """
    what, suffix = _NAMES[emit]
    found = Path(path).suffix
    others = {other for _, other in _NAMES.values()} - {suffix}
    if found in others or (emit != SHARED and found != suffix):
        meant = next((kind for kind, (_, other) in _NAMES.items() if other == found), None)
        instead = "" if meant is None else f", or ask for emit {meant}"
        raise InputError(
            f"{os.fspath(path)} would be {what}, whose name ends in {suffix}",
            f"give it such a name{instead}",
        )
