"""TVM's runtime library, without TVM's Python package and without its compiler.

``import tvm`` maps the 260 MB of ``libtvm_compiler.so`` and takes most of a
second. An artifact needs neither: ``libtvm_runtime.so`` holds the virtual
machine and the thread pool, and ``tvm_ffi`` calls into it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakValueDictionary

from tvm_mobilenet.errors import ArtifactError, RuntimeLibraryError
from tvm_mobilenet.runtime.private import PrivateCopy

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


class Code:
    """An artifact's code in memory; when nobody holds this any more it is unloaded.

    Parameters
    ----------
    copy : PrivateCopy
        That it was loaded from.
    module : ffi module or NativeLibrary
        What was loaded.
    """

    def __init__(self, copy: PrivateCopy, module: Any) -> None:
        self._owner = _Owner(copy, module)

    @property
    def module(self) -> Any:
        """What was loaded."""
        return self._owner.module

    @property
    def copy(self) -> PrivateCopy:
        """What it was loaded from."""
        return self._owner.copy

    @property
    def name(self) -> str:
        """Under which the system's loader knows it."""
        return self._owner.copy.name


class _Owner:
    """Unloads. Not `Code` itself, which others find until its finalizer has run."""

    def __init__(self, copy: PrivateCopy, module: Any) -> None:
        self.copy = copy
        self.module = module

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if ending():  # the interpreter: what would be called here may be gone
            return
        del self.module
        _unloading.add(self.copy)
        _forget_unloaded()


_unloading: set[PrivateCopy] = set()
"""What no :class:`Code` holds. Somebody may hold a function of it: then its name is taken."""
_codes: WeakValueDictionary[str, Code] = WeakValueDictionary()


def open_library(path: str, key: str, copy: PrivateCopy, load_module: Callable[[str], Any]) -> Code:
    """Load an artifact's code, or share it with whoever has loaded the same content.

    Parameters
    ----------
    path : str
        What messages call it.
    key : str
        Which content, by its hash, and through which door.
    copy : PrivateCopy
        Its content.
    load_module : callable
        From a name to what runs the code.

    Raises
    ------
    ArtifactError
        The system's loader refused it.
    """
    _forget_unloaded()
    found = _codes.get(key)
    if found is not None:
        return found
    try:
        code = Code(copy, load_module(copy.name))
    except (RuntimeError, OSError) as error:
        # Whole, and for this machine, yet refused: a library that it links to is missing.
        raise ArtifactError(
            f"{path} cannot be loaded: {str(error).replace(copy.name, path)}",
            "compile it on this machine",
        ) from error
    # Of several threads that come here with the same content, the first one's stays.
    return _codes.setdefault(key, code)


def _forget_unloaded() -> None:
    """Free the memory and the names of what is not loaded any more."""
    for copy in tuple(_unloading):
        with loaded_library(copy.name) as library:
            if library is None:
                _unloading.discard(copy)


def loader_of(ffi: ModuleType) -> Callable[[str], Any]:
    """Return TVM's loader of shared objects, whatever their names end in.

    ``load_module`` would keep what it loads until the process ends.
    """
    load: Callable[[str, str], Any] = ffi.get_global_func("ffi.Module.load_from_file.so")
    return lambda name: load(name, "so")


@contextlib.contextmanager
def loaded_library(name: str) -> Iterator[ctypes.CDLL | None]:
    """Hold another handle to a library that is loaded already; None if it is not."""
    loader = ctypes.CDLL(None)
    loader.dlopen.restype = ctypes.c_void_p
    handle = loader.dlopen(os.fsencode(name), os.RTLD_NOLOAD | os.RTLD_NOW)
    if not handle:
        yield None
        return
    try:
        yield ctypes.CDLL(name, handle=handle)
    finally:
        loader.dlclose(ctypes.c_void_p(handle))


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
