"""Which images a person means by files, folders and standard input."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tvm_mobilenet.errors import ImageError

STDIN = "-"

SUFFIXES = frozenset(
    (
        *(".avif", ".bmp", ".gif", ".heic", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg"),
        *(".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
    )
)
"""Endings of files that are taken out of folders, in lower case."""


class Source(NamedTuple):
    """An image to be read: what to call it, and its path or content."""

    name: str
    content: Path | bytes


def find_images(given: Iterable[str], stdin: bytes | None = None) -> list[Source]:
    """Return every image meant, in the order given; folders in the order of names.

    Parameters
    ----------
    given : iterable of str
        Files; folders, taken with those inside them, hidden ones left out; ``"-"``.
    stdin : bytes, optional
        What ``"-"`` stands for: one image, or a text with a file or folder in each line.

    Raises
    ------
    ImageError
        A folder without an image, or nothing on standard input.
    """
    found: list[Source] = []
    for name in given:
        if name == STDIN:
            found += _of_stdin(stdin or b"")
        elif Path(name).is_dir():
            found += _of_folder(name)
        else:
            found.append(Source(name, Path(name)))
    return found


def _of_stdin(content: bytes) -> list[Source]:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    # No format of images is text without zeros, but for the oldest ones in plain numbers.
    if "\0" in text:
        return [Source(STDIN, content)]
    names = [line.strip() for line in text.splitlines()]
    listed = [name for name in names if name and name != STDIN]
    if not listed:
        raise ImageError(
            "standard input holds neither an image nor names of files",
            "pipe one in, such as `cat photo.jpg |` or `ls *.jpg |`",
        )
    return find_images(listed)


def _of_folder(folder: str) -> list[Source]:
    found = [Source(str(path), path) for path in _walk(folder)]
    if not found:
        raise ImageError(
            f"no image in the folder {folder!r}",
            f"images there end in {', '.join(sorted(SUFFIXES))}",
        )
    return found


def _walk(folder: str) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(root, name)
            # Regular files only: a pipe would be waited for.
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES and path.is_file():
                yield path
