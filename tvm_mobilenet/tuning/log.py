"""Files of records: read whatever is whole, append so that a crash costs at most the last line."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from tvm_mobilenet.common.files import written_aside
from tvm_mobilenet.errors import OutputError, RecordsBusyError, RecordsError
from tvm_mobilenet.tuning.lines import Damage, numbered
from tvm_mobilenet.tuning.records import OtherVersionError, Record, rescue

LOCK = ".lock"
"""Held by whoever writes to a folder; says who that is."""

_locks: set[int] = set()
"""Open lock files. A child made by fork gives them up: the lock ends with its holder alone."""


def _give_up() -> None:
    for file in _locks:
        os.close(file)
    _locks.clear()


os.register_at_fork(after_in_child=_give_up)


@dataclass(frozen=True, slots=True)
class Log:
    """What a file of records holds.

    Attributes
    ----------
    records : tuple of Record
        In the file's order.
    damaged : tuple of Damage
        Lines that were skipped.
    foreign : tuple of bytes
        Lines of another version, as they are.
    """

    records: tuple[Record, ...]
    damaged: tuple[Damage, ...]
    foreign: tuple[bytes, ...]


def read(path: Path) -> Log:
    """Read a file of records; none if there is no such file.

    Raises
    ------
    RecordsError
        It is there and cannot be read.
    """
    records: list[Record] = []
    damaged: list[Damage] = []
    foreign: list[bytes] = []
    for number, line in numbered(path):
        try:
            records.append(Record.from_line(line))
        except RecordsError as error:
            damaged.append(Damage(path, number, error.what))
            if isinstance(error, OtherVersionError):
                foreign.append(line)
            else:
                records.extend(rescue(line))
    return Log(tuple(records), tuple(damaged), tuple(foreign))


class Line(Protocol):
    """What a line of a log can be made of."""

    def to_line(self) -> bytes:
        """Return ASCII without a line break."""
        ...


def append(path: Path, record: Line) -> None:
    """Add a line at the end of a file, on the disk when this returns.

    Whoever writes holds the folder's lock (:func:`writing`). A writer that dies leaves
    at most a torn last line, and the next one starts on a line of its own.

    Parameters
    ----------
    path : Path
        Made, with its folder, if it is not there.

    Raises
    ------
    OutputError
        It cannot be written; the file is as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = not path.exists()
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(file).st_size
            torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
            _write_all(file, (b"\n" if torn else b"") + record.to_line() + b"\n", size)
        finally:
            os.close(file)
        if fresh:
            _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(
            f"cannot append to {str(path)!r}: {error.strerror or error}",
            "make room, or name a folder that you may write to",
        ) from error


def rewrite(path: Path, records: Iterable[Record], foreign: Iterable[bytes] = ()) -> None:
    """Replace a file by these records, whole or not at all.

    Parameters
    ----------
    foreign : iterable of bytes
        Lines of another version, to be kept.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make {str(path.parent)!r}: {error.strerror or error}",
            "name a folder that you may write to",
        ) from error
    with written_aside(path) as aside:
        aside.writelines(line + b"\n" for line in (*(r.to_line() for r in records), *foreign))


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Be the only one who writes to a folder of records.

    The lock is the system's: it ends with the process, however that ends, and children
    do not inherit it.

    Parameters
    ----------
    folder : Path
        Made if it is not there.

    Raises
    ------
    RecordsBusyError
        Somebody else is writing; says who.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _unwritable(folder, error) from error
    _locks.add(file)
    try:
        try:
            _lock(file, folder)
        except OSError as error:  # no room to say whose it is
            raise _unwritable(folder, error) from error
        yield
        os.ftruncate(file, 0)
    finally:
        # In a child made by fork it is closed already, and the number may be another file's.
        if file in _locks:
            _locks.discard(file)
            os.close(file)


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write to {str(folder)!r}: {error.strerror or error}",
        "make room, or name a folder that you may write to",
    )


def _lock(file: int, folder: Path) -> None:
    """Lock a folder's lock file and write into it whose it is."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(file, 4096, 0).decode(errors="replace").strip()
        raise RecordsBusyError(
            f"{folder} is being written by {holder or 'another process'}",
            "wait for it, or name another folder",
        ) from None
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    who = f"process {os.getpid()} on {socket.gethostname()} since {now}: "
    os.ftruncate(file, 0)
    os.pwrite(file, (who + " ".join(sys.argv)[:200]).encode(errors="replace"), 0)


def _write_all(file: int, data: bytes, size: int) -> None:
    """Write and sync; on failure cut the file to its size before."""
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]
        os.fsync(file)
    except OSError:
        os.ftruncate(file, size)
        raise


def _sync_folder(folder: Path) -> None:
    """Put a new file's name on the disk too."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
