"""The manifest inside a compiled shared object: written and read.

The linker lays out an empty section of a fixed size; the finished manifest is
patched into it, so that it can hold a hash over the whole file. Reading takes
the file as bytes and never executes anything in it, hence what this machine
cannot run is refused before ``dlopen``.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from tvm_mobilenet.artifact.containers import container_of
from tvm_mobilenet.artifact.sources import SEAL, SECTION, seal, section_name
from tvm_mobilenet.errors import (
    ArtifactError,
    ManifestError,
    NotAnArtifactError,
    TruncatedArtifactError,
)
from tvm_mobilenet.runtime.elf import (
    AGAIN,
    RELOCATABLE,
    SHARED_OBJECT,
    find_section,
    open_binary,
    read_section,
)

Manifest = dict[str, Any]
"""As :class:`tvm_mobilenet.runtime.schema.Manifest` describes it."""

_LARGEST = 1 << 26
"""Bytes of a manifest: hundreds of times what a network of hundreds of kernels takes."""
_HASH_KEY = b'"sha256":"'
_UNHASHED = b"0" * 64
_CHUNK = 1 << 20


def write_manifest(path: str | os.PathLike[str], manifest: Mapping[str, Any]) -> Manifest:
    """Put a manifest into the section that :func:`manifest_source` reserved.

    Parameters
    ----------
    path : path-like
        A linked shared object, or an object to link into a program. It is replaced as a whole
        once the new content is on the disk; its permissions stay.
    manifest : mapping
        JSON-able; a ``sha256`` in it is ignored.

    Returns
    -------
    dict
        What was written: `manifest` with ``sha256``, the hash over the file in
        which these 64 digits are zeros.

    Raises
    ------
    NotAnArtifactError, TruncatedArtifactError
        Neither with such a section.
    ArtifactError
        The manifest is larger than the room reserved.
    OutputError
        The operating system refuses to write there.
    """
    # Outside of the loader's way: only whoever compiles writes.
    import shutil

    from tvm_mobilenet.common.files import written_aside

    path = Path(path)
    with open_binary(path) as file:
        section = find_section(file, path, SECTION, (SHARED_OBJECT, RELOCATABLE))
    content = {k: v for k, v in manifest.items() if k != "sha256"}
    # Last, so that the last match in the text is the file's own hash.
    content["sha256"] = _UNHASHED.decode()
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
    if len(text) > section.size:
        raise ArtifactError(
            f"the manifest of {path} takes {len(text)} bytes, but {section.size} are reserved",
            "reserve more with manifest_source",
        )
    data = bytearray(path.read_bytes())
    data[section.offset : section.offset + section.size] = text.ljust(section.size, b"\0")
    digest = hashlib.sha256(data).hexdigest()
    at = section.offset + text.rindex(_HASH_KEY) + len(_HASH_KEY)
    data[at : at + 64] = digest.encode()
    with written_aside(path) as aside:
        aside.write(data)
        shutil.copymode(path, aside.name)
    return {**content, "sha256": digest}


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Read the manifest of an artifact and check that the file is whole.

    Parameters
    ----------
    path : path-like
        The shared object. It is read once, in pieces, and not mapped.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    NotAnArtifactError
        Not a file, not a shared object, or one without a manifest.
    TruncatedArtifactError
        Cut off, or altered since it was written.
    AbiError
        Written in a format that this version does not know.
    ManifestError
        Not what a manifest must be.
    """
    path = Path(path)
    with open_binary(path) as file:
        return manifest_in(file, path)


def manifest_in(file: BufferedIOBase, path: Path) -> Manifest:
    """Read the manifest of an artifact that is open, as :func:`read_manifest` does."""
    section = find_section(file, path, SECTION)
    if section.size > _LARGEST:
        raise ManifestError(f"the manifest of {path} claims {section.size} bytes", AGAIN)
    file.seek(section.offset)
    text = file.read(section.size).rstrip(b"\0")
    start = text.rfind(_HASH_KEY) + len(_HASH_KEY)
    stated = text[start : start + 64]
    if start < len(_HASH_KEY) or len(stated) < 64:
        raise TruncatedArtifactError(f"{path} holds no finished manifest", AGAIN)
    found = _hash(file, section.offset + start)
    if found.encode() != stated:
        raise TruncatedArtifactError(
            f"{path} was cut off or altered: its content does not match its hash", AGAIN
        )
    from tvm_mobilenet.runtime.manifest_text import parse_manifest

    manifest = parse_manifest(text, os.fspath(path))
    _check_seal(file, path, manifest)
    return manifest


def _check_seal(file: BufferedIOBase, path: Path, manifest: Manifest) -> None:
    """Refuse launches, or a graph, that are not those that the code was made for."""
    container = container_of(manifest)
    if container is None or not container.sealed:
        return
    try:
        stated = read_section(file, path, section_name(SEAL))
    except NotAnArtifactError:
        return  # from before there were seals
    if stated != seal(manifest[container.part]).encode():
        raise ManifestError(
            f"the manifest of {path} contradicts its code: {container.part} is not the one that "
            "it was compiled with",
            AGAIN,
        )


def _hash(file: BufferedIOBase, digits_at: int) -> str:
    """Hash a file as if the 64 bytes at `digits_at` were zeros."""
    digest = hashlib.sha256()
    file.seek(0)
    _feed(digest, file, digits_at)
    digest.update(_UNHASHED)
    file.seek(digits_at + len(_UNHASHED))
    _feed(digest, file, sys.maxsize)
    return digest.hexdigest()


def _feed(digest: hashlib._Hash, file: BufferedIOBase, size: int) -> None:
    """Hash the next `size` bytes, or up to the end, in pieces that keep the peak of memory low."""
    view = memoryview(bytearray(min(size, _CHUNK)))
    while size > 0 and (got := file.readinto(view[: min(size, _CHUNK)])):
        digest.update(view[:got])
        size -= got
