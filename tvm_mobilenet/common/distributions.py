"""The two distributions that have this package: the whole of it, and what loads and runs."""

from __future__ import annotations

from importlib.util import find_spec

from tvm_mobilenet.errors import NotInstalledError

WHOLE, SMALL = "tvm-mobilenet", "tvm-mobilenet-runtime"

MEND = f"pip uninstall {SMALL}, then pip install --force-reinstall --no-deps {WHOLE}"
"""What to do where both were installed: each has overwritten, or taken away, the other's files."""


def extra(of_whole: str, of_small: str) -> str:
    """Return what pip installs to have an extra of the distribution that is here.

    Parameters
    ----------
    of_whole, of_small : str
        What each of the two calls it.
    """
    if find_spec("tvm_mobilenet.api") is None:
        return f"'{SMALL}[{of_small}]'"
    return f"'{WHOLE}[{of_whole}]'"


def refusal(what: str) -> NotInstalledError:
    """Return the error for something of this project whose module is not here.

    Parameters
    ----------
    what : str
        Begins the sentence.
    """
    if both_installed():
        return NotInstalledError(
            f"{what} was lost: {WHOLE} and {SMALL} are both installed, and have the same files",
            MEND,
        )
    return NotInstalledError(
        f"{what} is not in {SMALL}, which loads and runs compiled networks",
        f"to compile, verify and tune: pip uninstall {SMALL}, then pip install {WHOLE}",
    )


def both_installed() -> bool:
    """Return whether pip knows of both in this environment."""
    from importlib import metadata

    try:
        return bool(metadata.version(WHOLE) and metadata.version(SMALL))
    except metadata.PackageNotFoundError:
        return False
