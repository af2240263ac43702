"""Arrays by name out of a file, in any format that weights come in. Nothing in it is executed."""

from __future__ import annotations

import io
import math
import os
import stat
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import WeightsError
from tvm_mobilenet.models.checkpoints.torch_files import LARGEST_FILE, read_state_dict

READABLE = (".npz", ".safetensors", ".pth", ".pt", ".bin", ".pth.tar")
"""Endings of files that :func:`read_arrays` takes; the last four are ``torch.save``'s."""


_LONGEST = 300
"""Characters of what a message takes over from a file."""

_STORED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How numpy.savez and numpy.savez_compressed pack."""


def read_arrays(path: str | os.PathLike[str], room: int = LARGEST_FILE) -> dict[str, NDArray[Any]]:
    """Read every array of a file.

    Parameters
    ----------
    path : path-like
        Path of a file that ends in one of :data:`READABLE`.
    room : int
        Bytes that a compressed file may take when it is unpacked.

    Returns
    -------
    dict of str to ndarray
        Arrays by the file's names, in its types and shapes.

    Raises
    ------
    WeightsError
        The file is missing, of another format, damaged, or would have to be executed.
    """
    where = os.fspath(path)
    ending = next((end for end in READABLE if where.lower().endswith(end)), None)
    if ending is None:
        raise WeightsError(
            f"{where!r} is not a known format of weights", f"use {', '.join(READABLE)}"
        )
    try:
        _check_file(where)
        if ending == ".npz":
            return _read_npz(where, room)
        if ending == ".safetensors":
            return _read_safetensors(where)
        with open(where, "rb") as file:
            return read_state_dict(file.read(LARGEST_FILE + 1), where)
    except OSError as error:
        raise WeightsError(f"cannot read {where!r}: {error.strerror or error}") from error


def _check_file(path: str) -> None:
    """Refuse what has no end, or is waited for, or would fill the memory."""
    try:
        found = os.stat(path)
    except ValueError as error:  # a path with a zero byte
        raise WeightsError(f"cannot read {path!r}: {error}") from error
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(21, "it is a folder, not a file")
    if not stat.S_ISREG(found.st_mode):
        raise WeightsError(f"{path!r} is no regular file", "give a file with weights")
    if found.st_size > LARGEST_FILE:
        raise WeightsError(
            f"{path!r} has {found.st_size} bytes, more than the weights of any MobileNet",
            f"give a file of at most {LARGEST_FILE} bytes",
        )


def _read_npz(path: str, room: int) -> dict[str, NDArray[Any]]:
    try:
        with open(path, "rb") as file:
            if file.read(6) == b"\x93NUMPY":
                raise WeightsError(f"{path!r} holds a single array", "save it with numpy.savez")
            with zipfile.ZipFile(file) as archive:
                _check_directory(archive.infolist(), path, room)
                return {
                    info.filename.removesuffix(".npy"): _read_npy(archive.read(info))
                    for info in archive.infolist()
                }
    except (WeightsError, OSError):
        raise
    except Exception as error:
        # A file made to mislead may end in any error, and all mean the same.
        raise _unreadable(path, ".npz without pickle", error) from error


def _check_directory(files: list[zipfile.ZipInfo], path: str, room: int) -> None:
    """Compare what an archive claims with what it may hold, before anything is unpacked."""
    names = {info.filename.removesuffix(".npy") for info in files}
    if len(names) != len(files):
        raise WeightsError(f"{path!r} has two arrays of one name", "save it with numpy.savez")
    if any(info.compress_type not in _STORED for info in files):
        raise WeightsError(
            f"{path!r} is packed as numpy.savez does not", "save it with numpy.savez_compressed"
        )
    if (claimed := sum(info.file_size for info in files)) > room:
        raise WeightsError(
            f"{path!r} would unpack to {claimed} bytes, and the weights take at most {room}",
            "check that it holds the weights of this model and nothing else",
        )


def _read_npy(content: bytes) -> NDArray[Any]:
    """Read one array; its header must say neither more nor less than there is."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, fortran, dtype = read_header(stream)
    if dtype.kind not in "fiub":
        raise ValueError(f"an array of {dtype.kind!r}, which are no plain numbers")
    left = len(content) - stream.tell()
    if math.prod(shape) * dtype.itemsize != left:
        raise ValueError(f"an array of shape {shape} and {dtype} has {left} bytes")
    array = np.frombuffer(content, dtype, offset=stream.tell())
    return np.array(array.reshape(shape, order="F" if fortran else "C"))


def _read_safetensors(path: str) -> dict[str, NDArray[Any]]:
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except OSError:
        raise
    except Exception as error:
        # NumPy has no name for bfloat16 and its like, which surfaces as errors of many kinds.
        what = ".safetensors file of float16, float32 or float64"
        raise _unreadable(path, what, error) from error


def _unreadable(path: str, what: str, error: Exception) -> WeightsError:
    reason = f"{error}"[:_LONGEST] or type(error).__name__
    return WeightsError(f"{path!r} is no readable {what}: {reason}")
