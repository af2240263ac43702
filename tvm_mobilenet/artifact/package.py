"""A library's folder as build systems expect it: CMake and pkg-config find it wherever it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm_mobilenet.artifact.emission import SHARED, Emit, suffix_of
from tvm_mobilenet.artifact.native_header import header, one_line, prefix_of
from tvm_mobilenet.errors import InputError

_HEADERS = frozenset({"assert", "ctype", "errno", "float", "limits", "locale", "math", "setjmp"})
_HEADERS |= {"signal", "stddef", "stdint", "stdio", "stdlib", "string", "threads", "time", "wchar"}
_LIBRARIES = frozenset({"c", "dl", "gcc", "m", "rt", "util"})

# Threads: glibc before 2.34 has them in a library of its own. -l, since the file has no SONAME.
_CMAKE = """\
# {about}
include(CMakeFindDependencyMacro)
find_dependency(Threads)
if(NOT TARGET {name}::{name})
  add_library({name}::{name} {kind} IMPORTED)
  set_target_properties({name}::{name} PROPERTIES
    IMPORTED_LOCATION "${{CMAKE_CURRENT_LIST_DIR}}/../../{file}"
    IMPORTED_NO_SONAME TRUE
    INTERFACE_INCLUDE_DIRECTORIES "${{CMAKE_CURRENT_LIST_DIR}}/../../../include"
    INTERFACE_LINK_LIBRARIES "Threads::Threads;m")
endif()
"""
_PKG_CONFIG = """\
prefix=${{pcfiledir}}/../..

Name: {name}
Description: {about}
Version: {version}
Cflags: -I${{prefix}}/include
Libs: {linked} -pthread -lm
"""


def texts(manifest: Mapping[str, Any], emit: Emit) -> tuple[str, dict[str, str]]:
    """Return where in the folder the library goes, and by their places the other files' texts.

    Parameters
    ----------
    manifest : mapping
        What the artifact says of itself. The library is called by the prefix of its C functions.
    emit : {"so", "a"}
        What kind of library it is.

    Raises
    ------
    CInterfaceError
        The artifact has no C interface.
    InputError
        Neither CMake nor pkg-config has a word for such a file.
    """
    name = prefix_of(manifest)
    check_library(name, emit)
    file = f"lib{name}{suffix_of(emit)}"
    is_shared = emit == SHARED
    facts = {
        "name": name,
        "file": file,
        "kind": "SHARED" if is_shared else "STATIC",
        # By its name, an archive is not found where there is a shared object, too.
        "linked": f"-L${{prefix}}/lib -l{name}" if is_shared else f"${{prefix}}/lib/{file}",
        "version": manifest["c_interface"]["version"],
        "about": one_line(f"{manifest['title']} for {manifest['target']['name']}"),
    }
    return f"lib/{file}", {
        f"include/{name}.h": header(manifest),
        f"lib/cmake/{name}/{name}Config.cmake": _CMAKE.format(**facts),
        f"lib/pkgconfig/{name}.pc": _PKG_CONFIG.format(**facts),
    }


def check_library(name: str, emit: Emit) -> None:
    """Raise InputError for what a package cannot hold."""
    if emit not in {SHARED, "a"}:
        raise InputError(f"a package holds a library, not emit {emit}", "emit so or a")
    if name in _HEADERS | _LIBRARIES:
        raise InputError(
            f"{name}.h or lib{name} would hide the system's", "give a --prefix that is not taken"
        )
