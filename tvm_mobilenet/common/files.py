"""Files: their hash, writing them whole or not at all, and dumps of an IR."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from tvm_mobilenet.errors import OutputError

_PIECE = 1 << 20


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal; an OSError if it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def written_aside(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file beside `path` that takes its place once it is complete.

    The content reaches the disk before the name does. If anything fails, an
    older file at `path` is untouched and nothing new is left behind.

    Parameters
    ----------
    path : path-like
        Where the file shall be; symbolic links are followed.

    Yields
    ------
    binary file
        Open for writing, positioned at its start.

    Raises
    ------
    OutputError
        If the operating system refuses to write there.
    """
    target = Path(os.path.realpath(path))
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with aside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(target)
    except OSError as error:
        raise OutputError(
            f"cannot write {os.fspath(path)!r}: {error.strerror or error}",
            "choose a path in a folder that exists and that you may write to",
        ) from error
    finally:
        # Gone already where all went well; where the folder is missing it never was.
        with contextlib.suppress(OSError):
            aside.unlink()


def dump(folder: Path | None, name: str, text: Callable[[], str]) -> None:
    """Write ``text()`` to a file of a folder, which is made if it is missing; None writes nothing.

    Raises
    ------
    OutputError
        If the operating system refuses to write there.
    """
    if folder is None:
        return
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text())
    except OSError as error:
        raise OutputError(
            f"cannot write the IR to {path}: {error.strerror}", "name a folder you can write to"
        ) from None
