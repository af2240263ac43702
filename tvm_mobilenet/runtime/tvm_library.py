"""TVM's runtime library, without TVM's Python package and without its compiler.

``import tvm`` maps the 260 MB of ``libtvm_compiler.so`` and takes most of a
second. An artifact needs neither: ``libtvm_runtime.so`` holds the virtual
machine and the thread pool, and ``tvm_ffi`` calls into it.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from tvm_mobilenet.errors import RuntimeLibraryError

_INSTALL = "install it with `pip install apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1`"
_LIBRARY = "libtvm_runtime.so"


@functools.cache
def load_runtime() -> ModuleType:
    """Load the runtime library once for this process.

    Returns
    -------
    module
        ``tvm_ffi``, through which the library is called. Where the process has
        imported ``tvm`` itself, its library serves.

    Raises
    ------
    RuntimeLibraryError
        The library or ``tvm_ffi`` is not installed, or the loader refused it.
    """
    try:
        import tvm_ffi
    except (ImportError, OSError, RuntimeError) as error:
        raise RuntimeLibraryError(
            f"the Python module 'tvm_ffi' cannot be imported: {error}", _INSTALL
        ) from error
    if "tvm" not in sys.modules:
        path = find_runtime()
        try:
            # Global, because artifacts and tvm_ffi find its symbols by name.
            ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise RuntimeLibraryError(f"{path} cannot be loaded: {error}", _INSTALL) from error
    module: ModuleType = tvm_ffi
    return module


def loader_of(ffi: ModuleType) -> Callable[[str], Any]:
    """Return TVM's loader of shared objects, whatever their names end in.

    ``load_module`` would keep what it loads until the process ends.
    """
    load: Callable[[str, str], Any] = ffi.get_global_func("ffi.Module.load_from_file.so")
    return lambda name: load(name, "so")


def find_runtime() -> Path:
    """Find ``libtvm_runtime.so`` where TVM's own package would look for it.

    Returns
    -------
    Path
        In the folder ``TVM_LIBRARY_PATH`` if the library is there, else in the
        installed package, which is located but not imported.

    Raises
    ------
    RuntimeLibraryError
        Nothing there.
    """
    folders = [Path(folder) for folder in [os.environ.get("TVM_LIBRARY_PATH")] if folder]
    try:
        spec = importlib.util.find_spec("tvm")
    except ValueError:  # what find_spec makes of a half-initialised module
        spec = None
    folders += [Path(p) / "lib" for p in (spec and spec.submodule_search_locations) or ()]
    for folder in folders:
        if (folder / _LIBRARY).is_file():
            return folder / _LIBRARY
    where = ", ".join(map(str, folders)) or "any installed package called 'tvm'"
    raise RuntimeLibraryError(f"no {_LIBRARY} in {where}", _INSTALL)
