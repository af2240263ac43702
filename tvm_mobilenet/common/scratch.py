"""Temporary files and folders, with errors that say which folder is full or read-only."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import time
from collections.abc import Iterator
from typing import IO

from tvm_mobilenet.common.interrupts import interrupts_later
from tvm_mobilenet.errors import OutputError

LEAST_ROOM = 16 << 20
"""Bytes that have to be free: object files take a few millions, and LLVM ends the process where
it cannot write them."""

_TIMES = 10
_PREFIX = "tvm_mobilenet-"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
_REMEDY = "make room there, or name another folder by the environment variable TMPDIR"


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """Make a folder, yield its path, and remove it behind the ``with`` block.

    Raises
    ------
    OutputError
        There is no folder for temporary files, or no room in it.
    """
    made = scratch_folder()
    with contextlib.ExitStack() as ending:
        ending.callback(_remove, made)
        try:
            yield made.name
        except OSError as error:
            # NumPy has no number for a file that it could write in part.
            if error.errno is not None and error.errno not in _FULL:
                raise
            reason = error.strerror or error
            raise OutputError(
                f"cannot write temporary files in {os.path.dirname(made.name)!r}: {reason}",
                _REMEDY,
            ) from error


def _remove(made: tempfile.TemporaryDirectory[str]) -> None:
    """Remove a folder, and what a compiler that was stopped still writes there as it ends."""
    with interrupts_later():
        for _ in range(_TIMES):
            with contextlib.suppress(OSError):
                made.cleanup()
                return
            time.sleep(0.1)
        made.cleanup()


def scratch_folder(parent: str | None = None) -> tempfile.TemporaryDirectory[str]:
    """Make a folder that is removed with the object returned.

    Parameters
    ----------
    parent : str, optional
        Folder in which it is made; by default the one that ``TMPDIR`` names.

    Raises
    ------
    OutputError
        There is no folder for temporary files, or it has less than :data:`LEAST_ROOM`.
    """
    try:
        with interrupts_later():
            made = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent)
    except OSError as error:
        raise _nowhere(error) from error
    there = os.statvfs(made.name)
    if there.f_bavail * there.f_frsize < LEAST_ROOM:
        made.cleanup()
        raise OutputError(
            f"{os.path.dirname(made.name)!r} has room for {there.f_bavail * there.f_frsize} bytes, "
            f"and temporary files need {LEAST_ROOM}",
            _REMEDY,
        )
    return made


def scratch_file() -> IO[bytes]:
    """Open a file without a name that is removed when it is closed.

    Raises
    ------
    OutputError
        There is no folder for temporary files.
    """
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise _nowhere(error) from error


def _nowhere(error: OSError) -> OutputError:
    return OutputError(f"no folder takes temporary files: {error.strerror or error}", _REMEDY)
