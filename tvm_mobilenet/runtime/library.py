"""An artifact's code in memory: whoever loads the same content shares it, until nobody holds it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakValueDictionary

from tvm_mobilenet.errors import ArtifactError
from tvm_mobilenet.runtime.private import PrivateCopy


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
        _loaded.add(copy)

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if ending():  # the interpreter: what would be called here may be gone
            return
        del self.module
        _forget_unloaded()


_loaded: set[PrivateCopy] = set()
"""What the system's loader may still hold, since not only a :class:`Code` does, but somebody's
function or context too. Held here, for the collector finalizes what it finds in a circle in any
order, and would give a copy's name away before its library is unloaded."""
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
    for copy in tuple(_loaded):
        with loaded_library(copy.name) as library:
            if library is None:
                _loaded.discard(copy)


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
