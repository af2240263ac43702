"""Packages whose names are imported when somebody asks for them.

Start-up stays short, and a distribution that holds a part of the modules can have the same
packages: what it lacks is refused when it is asked for, by name.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """A package whose ``__all__`` lists names that live in its modules.

    The import system binds a module to its name in the package, which would hide a function of
    that name (``bench``, ``host``) from the first import of the module on.
    """

    __all__: list[str]

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in self.__dict__["_homes"] and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        home = self.__dict__["_homes"].get(name)
        if home is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = part(f"{self.__name__}.{home}", name)
        self.__dict__[name] = value
        return value

    def __dir__(self) -> list[str]:
        homes = self.__dict__["_homes"]
        here = {home: _is_here(f"{self.__name__}.{home}") for home in set(homes.values())}
        return sorted(name for name in self.__all__ if here.get(homes.get(name), True))


def export(package: str, homes: Mapping[str, str]) -> None:
    """Let a package have names of its modules.

    Parameters
    ----------
    package : str
        Its ``__name__``; this is called while it is imported.
    homes : mapping of str to str
        Names, and the module below the package that defines each.
    """
    module = sys.modules[package]
    module.__dict__["_homes"] = homes
    module.__class__ = _Package


def part(module: str, name: str, what: str = "") -> Any:
    """Import something from a module of this project that need not be installed.

    Parameters
    ----------
    module : str
        Its full name.
    name : str
        What is wanted of it.
    what : str, optional
        What an error calls that; the name by default.

    Raises
    ------
    NotInstalledError
        Only tvm-mobilenet-runtime is installed, which does not hold that module.
    """
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as missing:
        if missing.name is None or not f"{module}.".startswith(f"{missing.name}."):
            raise
    from tvm_mobilenet.common.distributions import refusal

    raise refusal(what or repr(name))


def _is_here(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it
        return False
