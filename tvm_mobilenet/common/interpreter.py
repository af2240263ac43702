"""Starts this interpreter again, without the working directory on its path."""

from __future__ import annotations

import sys

_WITHOUT_CWD = (
    "import sys; sys.path[:] = [place for place in sys.path if place]; "
    "import runpy; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"
)


def python_module(name: str, python: str = sys.executable) -> tuple[str, ...]:
    """Return the command that runs a module of an installed package.

    ``python -m`` would look for the module, and for all that it imports, in the working
    directory first, where anybody may have put files. (From Python 3.11 on ``-P`` prevents that.)
    """
    return (python, "-c", _WITHOUT_CWD.format(name=name))
