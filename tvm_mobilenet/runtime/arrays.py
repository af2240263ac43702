"""Arrays in NumPy's files: inputs are read example by example, outputs written whole or not."""

from __future__ import annotations

import contextlib
import itertools
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.common.files import written_aside
from tvm_mobilenet.errors import InputError, OutputError
from tvm_mobilenet.runtime.inputs import Expected

SUFFIXES = (".npy", ".npz")

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, ValueError, EOFError),
    *(NotImplementedError, RuntimeError),  # a compression that is none, a password
    # NumPy reads headers as Python's literals.
    *(SyntaxError, tokenize.TokenError, TypeError, OverflowError),
)


def is_array(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one of NumPy's, by its name."""
    return Path(path).suffix.lower() in SUFFIXES


def examples(path: str | os.PathLike[str], expected: Expected) -> Iterator[NDArray[Any]]:
    """Read the examples of a file one after another, however many it has.

    Parameters
    ----------
    path : path-like
        ``.npy``; or ``.npz`` with one array, or with one that has the input's name.
    expected : Expected
        What the network takes; the file may have any number of examples, or one without
        the batch axis.

    Yields
    ------
    ndarray
        One example, without the batch axis.

    Raises
    ------
    InputError
        No such file, another shape or type, several arrays, or a damaged file. Nothing is
        read before the shape is known to fit, and never more than an example at a time.
    """
    name, shape = os.fspath(path), expected.shape[1:]
    try:
        with _array_in(name, expected.name) as stream:
            version = np.lib.format.read_magic(stream)
            if version not in _HEADERS:
                raise ValueError(f"version {version} of the format")
            found, by_columns, dtype = _HEADERS[version](stream)
            if found == shape:
                found = (1, *found)
            if found[1:] != shape or dtype != expected.dtype:
                expected.check(found, dtype)
            if not found or found[0] < 1:
                raise expected.refuse(f"{dtype} of shape {found}", "give at least one example")
            if by_columns and len(found) > 1:
                raise expected.refuse(
                    "in Fortran's order", "save numpy.ascontiguousarray(x) instead"
                )
            for _ in range(found[0]):
                yield _example(stream, shape, dtype)
    except InputError as error:
        raise InputError(f"{name}: {error.what}", error.remedy) from error
    except OSError as error:
        raise InputError(
            f"{name} cannot be read: {error.strerror or error}", "give a file that is there"
        ) from error
    except _UNREADABLE as error:
        raise InputError(
            f"{name} is no array: {error}", "write it with numpy.save or numpy.savez"
        ) from error


def one_call(given: str | os.PathLike[str] | NDArray[Any], expected: Expected) -> NDArray[Any]:
    """Return the input of exactly one call.

    Parameters
    ----------
    given : path-like or ndarray
        A file as for :func:`examples`, or the array.
    expected : Expected
        The input that it has to fit.

    Raises
    ------
    InputError
        It does not fit, or the file holds more than one call takes.
    """
    if isinstance(given, str | os.PathLike):
        room = expected.shape[0]
        found = [*itertools.islice(examples(given, expected), room + 1)]
        if len(found) > room:
            raise InputError(
                f"{os.fspath(given)} holds more than the {room} a call that the artifact takes",
                "one call is looked at: give that many",
            )
        given = np.stack(found)
    x: NDArray[Any] = expected.array(given)
    return x


@contextlib.contextmanager
def _array_in(name: str, wanted: str) -> Iterator[IO[bytes]]:
    """Open the one array of a file, at its header."""
    if Path(name).suffix.lower() != ".npz":
        with open(name, "rb") as file:
            yield file
        return
    with zipfile.ZipFile(name) as archive:
        members = [member for member in archive.namelist() if member.endswith(".npy")]
        if len(members) > 1 and f"{wanted}.npy" in members:
            members = [f"{wanted}.npy"]
        if len(members) != 1:
            held = ", ".join(member.removesuffix(".npy") for member in members) or "none"
            raise InputError(
                f"of its arrays ({held}) which is the input?", f"give one, or call it {wanted!r}"
            )
        with archive.open(members[0]) as stream:
            yield stream


def _example(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("it ends in the middle of an example")
    return np.frombuffer(data, dtype).reshape(shape)


def check_savable(path: str | os.PathLike[str], names: Sequence[str]) -> None:
    """Refuse, before anything is computed, a file that could not hold outputs in the end.

    Raises
    ------
    OutputError
        The name says no format, or one for a single array where there are several; or
        nothing can be written there.
    """
    target = Path(path)
    if not is_array(target):
        raise OutputError(f"{str(target)!r} names no format", f"end it in {' or '.join(SUFFIXES)}")
    if len(names) > 1 and target.suffix.lower() == ".npy":
        raise OutputError(
            f"{str(target)!r} would hold one array, and there are {len(names)} outputs: "
            f"{', '.join(names)}",
            "end it in .npz",
        )
    folder = target.absolute().parent
    if target.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError(
            f"cannot write {str(target)!r}",
            "choose a file in a folder that exists and that you may write to",
        )


def save_outputs(path: str | os.PathLike[str], outputs: Mapping[str, NDArray[Any]]) -> None:
    """Write outputs, whole or not at all.

    Parameters
    ----------
    path : path-like
        ``.npz``, by the outputs' names; or ``.npy`` for a single one.
    outputs : mapping of str to ndarray
        By the names under which they shall stand in the file.

    Raises
    ------
    OutputError
        As :func:`check_savable`.
    """
    check_savable(path, list(outputs))
    with written_aside(path) as file:
        if Path(path).suffix.lower() == ".npy":
            (array,) = outputs.values()
            np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
            return
        # Not numpy.savez, which takes names as keywords: an output may be called "file".
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in outputs.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
