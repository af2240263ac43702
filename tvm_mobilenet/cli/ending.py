"""How a command ends: with a sentence and a status, whatever ended it."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from tvm_mobilenet.cli import logs
from tvm_mobilenet.common.shown import shown
from tvm_mobilenet.errors import OutputError, TvmMobilenetError

INTERRUPTED, READER_GONE, WRONG = 130, 1, 2
"""Exit statuses: of Ctrl-C; of a pipe whose reader left, which is nobody's fault; of an error."""

_ROOM = "make room where the output goes; temporary files go where TMPDIR says"
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.ENAMETOOLONG: "give a shorter path",
    errno.EMFILE: "raise the limit of open files: ulimit -n",
}
_REMEDY = "check the path, and that you may read and write there"


def run(command: Callable[[], object]) -> int:
    """Run a command to its end.

    Parameters
    ----------
    command : callable
        What the command line asks for.

    Returns
    -------
    int
        Exit status: that of the command, 130 after Ctrl-C at any moment, 2 after an error,
        which has been printed.
    """
    interrupts = _Interrupts()
    logs.start()
    try:
        _check_streams()
        status = _status_of(command)
        _flush()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        _silence(sys.stdout)
        status = READER_GONE
    except TvmMobilenetError as error:
        status = _tell(str(error), error.exit_status)
    except OSError as error:
        named = f"{error.filename!r}: " if error.filename is not None else ""
        remedy = _REMEDIES.get(error.errno or 0, _REMEDY)
        status = _tell(f"{named}{error.strerror or error}\n  → {remedy}", WRONG)
    except MemoryError:
        status = _tell("this machine has not enough memory for that\n  → try less at a time", WRONG)
    except Exception:
        # What is not ours may turn an interrupt into any error of its own.
        if not interrupts.seen:
            raise
        status = INTERRUPTED
    if interrupts.seen:
        # An interrupt that met a string being executed, as dataclasses do, Python takes for
        # unhandled: it would end by a signal, whatever the status. The next string clears that.
        exec("")
    interrupts.end()
    return INTERRUPTED if interrupts.seen and status else status


class _Interrupts:
    """Remembers Ctrl-C, which code that is not ours may catch, or call something else.

    What C++ complains of while it is left in the midst of its work is nobody's news: from the
    first Ctrl-C to the end only Python writes to standard error.
    """

    def __init__(self) -> None:
        self.seen = False
        self._undo = contextlib.ExitStack()
        ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if ours and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._note)

    def end(self) -> None:
        """Give standard error back."""
        self._undo.close()

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if not self.seen:
            self.seen = True
            self._undo.enter_context(_python_alone_on_standard_error())
        raise KeyboardInterrupt


@contextlib.contextmanager
def _python_alone_on_standard_error() -> Iterator[None]:
    """Have what writes to descriptor 2 by itself write nowhere."""
    kept, before = os.dup(2), sys.stderr
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, kept)
        if before is sys.__stderr__:  # a test's own stream stays
            sys.stderr = open(kept, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
            undo.callback(setattr, sys, "stderr", before)
            undo.callback(sys.stderr.close)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        undo.callback(os.dup2, kept, 2)
        yield


def _status_of(command: Callable[[], object]) -> int:
    try:
        command()
    except SystemExit as ended:  # Typer's way to end
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _check_streams() -> None:
    """Have three open streams, or say which one is not.

    What is opened next would get the number of one that is closed, and what is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  for as long as we live
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        raise OutputError("standard output is closed", "send it to a file, or to /dev/null")
    for stream in (sys.stdout, sys.stderr):
        # A terminal of few characters gets those that it lacks by their numbers.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Write out what is still held back, while a failure can be told."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write to standard output: {error.strerror}", "make room where it goes"
        ) from error


def _silence(stream: object) -> None:
    """Let what a stream holds back go nowhere: Python would try again when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), getattr(stream, "fileno")())  # noqa: B009


def _tell(message: str, status: int) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        _silence(sys.stdout)
    with contextlib.suppress(OSError):  # standard error, too, may be full: the status is left
        if (error := sys.exc_info()[1]) is not None:
            logs.tell_causes(error)
        print(f"error: {shown(message, keep=chr(10))}", file=sys.stderr, flush=True)
    return status
