"""A private copy of an artifact: what was checked is what runs, whatever becomes of the file.

The system's loader knows a library by its name and its inode, and maps it: a path that was written
anew gives the old library, and a file that is overwritten in place changes, or crashes, what
runs. So the file is copied once into memory that has no name of its own, sealed there, checked
there, and loaded from there (docs/adr/0019-private-copy.md).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from io import BufferedIOBase, BufferedRandom
from pathlib import Path

from tvm_mobilenet.artifact.sources import SECTION
from tvm_mobilenet.errors import ArtifactError
from tvm_mobilenet.runtime.elf import find_section, open_binary
from tvm_mobilenet.runtime.pages import collapse

_PIECE = 1 << 20
# Linux refuses to seal while it holds a page itself, to move it or to note it in a list. It waits
# 0.15 s for that to end, which on a busy machine is not always enough.
_SEALINGS = 20
# Of a name, what memfd_create certainly takes: it allows 249 bytes.
_NAME = 60


class PrivateCopy:
    """The content of an artifact, which nobody else can change.

    Attributes
    ----------
    file : binary file
        The content. Open as long as something is loaded from it: the loader would take another
        library under the same name for this one.
    name : str
        Under which the loader finds it; no other library that is loaded has the same.
    """

    def __init__(self, file: BufferedRandom, name: str) -> None:
        self.file = file
        self.name = name

    def __del__(self) -> None:
        self.file.close()


@contextlib.contextmanager
def private_copy(path: Path) -> Iterator[PrivateCopy]:
    """Copy an artifact, to be loaded before the block ends.

    Parameters
    ----------
    path : Path
        The shared object.

    Raises
    ------
    NotAnArtifactError, TruncatedArtifactError
        No shared object of ours, which is found out before anything is copied.
    ArtifactError
        There is no memory for it.
    """
    with open_binary(path) as source, contextlib.ExitStack() as named:
        find_section(source, path, SECTION)
        source.seek(0)
        try:
            in_memory = _in_memory(path.name)
            copy = in_memory or named.enter_context(_on_disk())
            _copy(source, copy.file)
            copy.file.flush()
            if in_memory:
                _seal(copy)
                collapse(copy.file)
        except OSError as error:
            raise ArtifactError(
                f"{path} cannot be copied to be loaded: {error.strerror or error}",
                "it takes as much memory as the file has bytes: see `free` and `ulimit -a`",
            ) from error
        yield copy


def _copy(source: BufferedIOBase, target: BufferedRandom) -> None:
    while piece := source.read(_PIECE):
        target.write(piece)


def _in_memory(title: str) -> PrivateCopy | None:
    """Return a copy in memory, still empty; None where the system has no such thing."""
    try:
        number = os.memfd_create(title[:_NAME], os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:  # an old kernel, or forbidden: vm.memfd_noexec=2
        return None
    # Not /proc/self, which in a debugger is the debugger.
    copy = PrivateCopy(os.fdopen(number, "w+b"), f"/proc/{os.getpid()}/fd/{number}")
    return copy if _is_named(number, copy.name) else None


def _seal(copy: PrivateCopy) -> None:
    """Let nobody change a copy in memory any more, this process included."""
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    for left in reversed(range(_SEALINGS)):
        try:
            fcntl.fcntl(copy.file, fcntl.F_ADD_SEALS, seals)
            return
        except OSError as error:
            if error.errno != errno.EBUSY or not left:
                raise


def _is_named(number: int, name: str) -> bool:
    """Whether a name leads to an open file: in a bare chroot there is no /proc."""
    try:
        return os.path.samestat(os.stat(name), os.fstat(number))
    except OSError:
        return False


@contextlib.contextmanager
def _on_disk() -> Iterator[PrivateCopy]:
    """Yield a copy in ``TMPDIR``, still empty, that has a name until it is loaded."""
    import tempfile

    number, name = tempfile.mkstemp(prefix="tvm_mobilenet-", suffix=".so")
    try:
        yield PrivateCopy(os.fdopen(number, "w+b"), name)
    finally:
        os.unlink(name)
