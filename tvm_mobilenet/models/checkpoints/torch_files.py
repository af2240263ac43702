"""State dicts that ``torch.save`` wrote, read without torch.

Two formats: the zip archive (PyTorch 1.6 and later) and the one before it, several pickles
followed by raw storages (torch/serialization.py, ``_legacy_save``).
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import WeightsError
from tvm_mobilenet.models.checkpoints.pickles import (
    BFLOAT16,
    RefusedError,
    Storage,
    Tensor,
    execute,
    item_bytes,
)

__all__ = ["LARGEST_FILE", "read_state_dict"]

LARGEST_FILE = 1 << 30
"""Bytes of a file: tens of times what any MobileNet takes."""

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # torch/serialization.py
_TAR_MAGIC = slice(257, 262)

_LONGEST = 300
"""Characters of what a message takes over from a file."""

_NESTED = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model")
"""Where training scripts keep the state dict, the averaged one first."""

_SAVE = "save it again with torch.save(model.state_dict(), file), or as .safetensors"


def read_state_dict(data: bytes, where: str) -> dict[str, NDArray[Any]]:
    """Read what ``torch.save`` wrote.

    Parameters
    ----------
    data : bytes
        The whole file.
    where : str
        Name of the file in messages.

    Returns
    -------
    dict of str to ndarray
        Arrays by the file's names without a leading ``module.``; bfloat16 becomes float32.

    Raises
    ------
    WeightsError
        The file is of another kind or damaged, claims more than it holds, or names anything
        that a state dict does not.
    """
    try:
        if len(data) > LARGEST_FILE:
            raise RefusedError("is larger than the weights of any MobileNet")
        if data[_TAR_MAGIC] == b"ustar":
            raise RefusedError("is in the tar format of PyTorch before 0.1.10, which is not read")
        if data.startswith(b"PK"):
            return _arrays(*_read_zip(data), len(data))
        return _arrays(*_read_legacy(data), len(data))
    except RefusedError as refused:
        raise WeightsError(f"{where!r} {str(refused)[:_LONGEST]}", _SAVE) from refused
    except Exception as error:
        # A file made to mislead may end in any error, and all mean the same.
        reason = f"{type(error).__name__}: {error}"[:_LONGEST]
        raise WeightsError(
            f"{where!r} is no readable PyTorch state dict: {reason}", _SAVE
        ) from error


def _read_zip(data: bytes) -> tuple[Any, Callable[[Storage], bytes], str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {info.filename: info for info in archive.infolist()}
        if len(files) != len(archive.infolist()):
            raise RefusedError("is a zip archive with two files of one name")
        roots = [name.removesuffix("data.pkl") for name in files if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise RefusedError("is a zip archive without one data.pkl: no file of torch.save")
        root = roots[0]
        if f"{root}constants.pkl" in files:
            raise RefusedError("is a TorchScript program, not a state dict")
        # Stored as they are, files cannot be larger than the archive.
        if any(info.compress_type != zipfile.ZIP_STORED for info in files.values()):
            raise RefusedError("is a compressed archive, which torch.save does not write")
        if sum(info.file_size for info in files.values()) > len(data):
            raise RefusedError("claims more bytes than it has")
        order = archive.read(f"{root}byteorder") if f"{root}byteorder" in files else b"little"
        content = {
            name.removeprefix(f"{root}data/"): archive.read(info)
            for name, info in files.items()
            if name.startswith(f"{root}data/")
        }
        program = archive.read(f"{root}data.pkl")
    result, end = execute(program, 0)
    if end != len(program):
        raise RefusedError("has a data.pkl with something behind its end")

    def bytes_of(storage: Storage) -> bytes:
        if storage.key not in content:
            raise RefusedError(f"lacks the storage {storage.key!r}")
        return content[storage.key]

    return result, bytes_of, {b"little": "<", b"big": ">"}[order]


def _read_legacy(data: bytes) -> tuple[Any, Callable[[Storage], bytes], str]:
    at = 0
    for expected in (_MAGIC, _PROTOCOL):
        found, at = execute(data, at)
        if found != expected:
            raise RefusedError("is a pickle, but none that torch.save wrote")
    system, at = execute(data, at)
    result, at = execute(data, at)
    keys, at = execute(data, at)
    counts: dict[str, int] = {}
    starts: dict[str, int] = {}
    sizes = {storage.key: item_bytes(storage) for storage in _storages(result)}
    for key in keys:
        if not isinstance(key, str) or key not in sizes:
            raise RefusedError("has a storage that no tensor uses")
        count = int.from_bytes(data[at : at + 8], "little" if system["little_endian"] else "big")
        counts[key], starts[key] = count, at + 8
        at += 8 + count * sizes[key]
        if at > len(data):
            raise RefusedError(f"is cut off in the storage {key!r}")

    def bytes_of(storage: Storage) -> bytes:
        if storage.key not in starts:
            raise RefusedError(f"lacks the storage {storage.key!r}")
        start = starts[storage.key]
        return data[start : start + counts[storage.key] * item_bytes(storage)]

    return result, bytes_of, "<" if system["little_endian"] else ">"


def _storages(result: Any) -> list[Storage]:
    """Return the storages of a state dict and of everything that contains it."""
    found, rest = [], [result]
    seen: set[int] = set()
    while rest:
        value = rest.pop()
        if isinstance(value, Tensor):
            found.append(value.storage)
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            rest += value.values() if isinstance(value, dict) else value
    return found


def _state_dict(result: Any) -> Mapping[str, Tensor]:
    for _ in _NESTED:  # no deeper: a dictionary may hold itself
        if not isinstance(result, dict) or any(isinstance(v, Tensor) for v in result.values()):
            break
        nested = [result[key] for key in _NESTED if isinstance(result.get(key), dict)]
        if not nested:
            break
        result = nested[0]
    if not isinstance(result, dict) or not result:
        raise RefusedError("holds no state dict")
    for key, value in result.items():
        if not isinstance(key, str):
            raise RefusedError(f"names a tensor by a {type(key).__name__}")
        if not isinstance(value, Tensor):
            raise RefusedError(f"holds {key!r}, which is no tensor")
    named = {key.removeprefix("module."): value for key, value in result.items()}
    if len(named) != len(result):
        raise RefusedError("has a tensor twice, with and without module. before its name")
    return named


def _arrays(
    result: Any, bytes_of: Callable[[Storage], bytes], order: str, room: int
) -> dict[str, NDArray[Any]]:
    tensors = _state_dict(result)
    if sum(math.prod(t.shape) * item_bytes(t.storage) for t in tensors.values()) > room:
        raise RefusedError("describes tensors that together are larger than the file")
    arrays = {}
    for name, (storage, offset, shape, strides) in tensors.items():
        raw = bytes_of(storage)
        if len(raw) < storage.elements * item_bytes(storage):
            raise RefusedError(f"is cut off in the storage of {name!r}")
        dtype = np.dtype(f"{order}{'u2' if storage.dtype == BFLOAT16 else storage.dtype}")
        flat = np.frombuffer(raw, dtype, storage.elements)[offset:]
        steps = tuple(step * dtype.itemsize for step in strides)
        view = np.lib.stride_tricks.as_strided(flat, shape, steps)
        array = np.array(view, dtype.newbyteorder("="))
        if storage.dtype == BFLOAT16:
            # Its bits are the upper half of a float32's.
            array = (array.astype(np.uint32) << 16).view(np.float32)
        arrays[name] = array
    return arrays
