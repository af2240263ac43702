"""``-v`` and ``-q``: how much of what goes on is told on standard error.

Everything goes through Python's logging, below the logger ``tvm_mobilenet``, whose level is
the one place where this is kept: DEBUG with ``-v``, ERROR with ``-q``, else WARNING.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
import warnings

from tvm_mobilenet.common.shown import shown
from tvm_mobilenet.errors import InputError

LOGGER = logging.getLogger("tvm_mobilenet")


class _Lines(logging.Formatter):
    """``warning: …`` for people; what is told beside that begins with the seconds since start."""

    def __init__(self) -> None:
        super().__init__()
        self._start = time.time()

    def format(self, record: logging.LogRecord) -> str:
        text = shown(record.getMessage(), keep="\n")
        if record.levelno >= logging.WARNING:
            return f"{record.levelname.lower()}: {text}"
        return f"{record.created - self._start:7.2f} s  {text}"


class _Stderr(logging.Handler):
    """Writes to what standard error is just then: above a table that moves, not into it."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


def start() -> None:
    """Tell warnings and errors."""
    handler = _Stderr()
    handler.setFormatter(_Lines())
    LOGGER.handlers[:] = [handler]
    LOGGER.propagate = False
    LOGGER.setLevel(logging.WARNING)


def be_verbose(wanted: bool) -> None:
    """Tell what is done, and of every error what caused it."""
    if wanted:
        _choose(logging.DEBUG)


def be_quiet(wanted: bool) -> None:
    """Tell errors and the result."""
    if wanted:
        _choose(logging.ERROR)


def _choose(level: int) -> None:
    if LOGGER.level not in (logging.WARNING, level):
        raise InputError("--verbose and --quiet exclude each other", "choose one")
    LOGGER.setLevel(level)


def is_verbose() -> bool:
    """Return whether everything is to be told."""
    return LOGGER.isEnabledFor(logging.DEBUG)


def is_quiet() -> bool:
    """Return whether only errors and the result are."""
    return not LOGGER.isEnabledFor(logging.WARNING)


def tell_warning(warning: warnings.WarningMessage) -> None:
    """Tell a Python warning in one line; with ``-v`` also its kind and the place in the source."""
    place = f" ({warning.category.__name__}, {warning.filename}:{warning.lineno})"
    LOGGER.warning("%s%s", warning.message, place if is_verbose() else "")


def tell_causes(error: BaseException) -> None:
    """Tell, with ``-v``, the tracebacks of an error and of all its causes."""
    if is_verbose():
        text = "".join(traceback.format_exception(error))
        print(shown(text, keep="\n"), end="", file=sys.stderr, flush=True)
