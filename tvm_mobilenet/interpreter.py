"""How this interpreter is started again: without a look into the folder one stands in."""

from __future__ import annotations

import sys

_WITHOUT_CWD = (
    "import sys; sys.path[:] = [place for place in sys.path if place]; "
    "import runpy; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"
)


def python_module(name: str, python: str = sys.executable) -> tuple[str, ...]:
    """Return the command that runs a module of an installed package.

    ``python -m`` would look for it, and for all that it imports, in the working directory
    first, which may be anybody's. (``-P`` leaves that out, from Python 3.11 on.)

    Parameters
    ----------
    name : str
        Of the module, with dots.
    python : str
        The interpreter.
    """
    return (python, "-c", _WITHOUT_CWD.format(name=name))
