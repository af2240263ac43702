"""The pickles of ``torch.save``, interpreted without torch; nothing in them is executed.

A pickle is a program. This takes the few instructions that a state dict consists of, lets it
name what a state dict names, and puts inert things of its own in their place. Tensors stay
claims; :mod:`tvm_mobilenet.models.checkpoints.torch_files` compares them with the bytes there are.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

_LARGEST = 1 << 24
"""Bytes of one pickle: tens of times what any MobileNet's takes."""
_MOST_AXES = 8

_OPCODES = frozenset(
    {
        *("PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "NONE", "NEWTRUE", "NEWFALSE"),
        *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "BINPERSID"),
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "SHORT_BINSTRING", "BINSTRING"),
        *("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("APPEND", "APPENDS", "SETITEM", "SETITEMS"),
        *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
    }
)
"""What ``torch.save`` writes for a state dict, in protocols 2 to 4."""

BFLOAT16 = "bfloat16"
_STORAGES = {
    "FloatStorage": "f4", "DoubleStorage": "f8", "HalfStorage": "f2", "BFloat16Storage": BFLOAT16,
    "LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1",
    "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip


class Storage(NamedTuple):
    """A run of numbers that the file holds elsewhere.

    Parameters
    ----------
    dtype : str
        NumPy's, without byte order, or :data:`BFLOAT16`.
    key : str
        Its name in the file.
    elements : int
        How many, as claimed.
    """

    dtype: str
    key: str
    elements: int


class Tensor(NamedTuple):
    """A view of a storage that lies within the count claimed; offset and strides in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Stand:
    """What a pickle gets for a name: it can be called, and not be changed."""

    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


@dataclass(frozen=True, slots=True)
class _StorageType:
    dtype: str


class _Dict(dict[Any, Any]):
    """An OrderedDict whose attributes (``_metadata``) are of no interest."""

    def __setstate__(self, state: object) -> None:
        """Ignore them."""


class RefusedError(Exception):
    """What is wrong with the file, without its name."""


def execute(data: bytes, start: int) -> tuple[Any, int]:
    """Interpret the pickle that begins at `start`.

    Parameters
    ----------
    data : bytes
        The whole file.
    start : int
        Bytes before the pickle.

    Returns
    -------
    tuple
        What it makes, of dictionaries, lists, tuples, numbers, texts and :class:`Tensor`; and
        the offset of its end, bytes.

    Raises
    ------
    RefusedError
        It holds what no state dict does. What is built wrongly raises anything at all.
    """
    program = data[start : start + _LARGEST]
    stream = io.BytesIO(program)
    steps = 0
    try:
        for steps, (opcode, argument, _) in enumerate(pickletools.genops(stream), start=1):
            if opcode.name not in _OPCODES:
                raise RefusedError(f"holds the pickle instruction {opcode.name}: no state dict")
            # The unpickler would make room for every number below this one.
            if opcode.name == "LONG_BINPUT" and int(argument or 0) > steps:
                raise RefusedError("numbers its objects beyond their count")
    except ValueError as error:
        raise RefusedError(f"is no readable PyTorch state dict: {error}") from error
    end = stream.tell()
    return _Unpickler(io.BytesIO(program[:end])).load(), start + end


class _Unpickler(pickle.Unpickler):
    """Knows the names that a state dict contains, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Stand(_rebuild_tensor)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _Stand(lambda tensor, *_: tensor)
        if (module, name) == ("collections", "OrderedDict"):
            return _Stand(_Dict)
        if module == "torch" and name in _STORAGES:
            return _StorageType(_STORAGES[name])
        raise RefusedError(
            f"names {f'{module}.{name}'!r}, which has no place in a state dict; nothing was run"
        )

    def persistent_load(self, pid: Any) -> Storage:
        kind, storage_type, key, _, count, *view = pid
        # Nothing of another type is put into words: a few nested tuples can fill the memory.
        typed = isinstance(storage_type, _StorageType) and isinstance(key, str)
        if kind != "storage" or not typed or any(part is not None for part in view):
            raise RefusedError("refers to what is no storage of its own")
        return Storage(storage_type.dtype, key, _whole(count))


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage) or len(shape) != len(strides) or len(shape) > _MOST_AXES:
        raise RefusedError("describes a tensor that cannot be one")
    sizes, steps = tuple(map(_whole, shape)), tuple(map(_whole, strides))
    last = _whole(offset) + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    count = math.prod(sizes)
    if count > storage.elements or (count and last >= storage.elements):
        raise RefusedError(
            f"describes a tensor of {sizes} in a storage of {storage.elements} elements"
        )
    return Tensor(storage, offset, sizes, steps)


def _whole(number: Any) -> int:
    if type(number) is not int or number < 0:
        found = number if type(number) is int else f"a {type(number).__name__}"
        raise RefusedError(f"has {found} where a size belongs")
    return number


def item_bytes(storage: Storage) -> int:
    """Return the bytes of one element."""
    return 2 if storage.dtype == BFLOAT16 else np.dtype(storage.dtype).itemsize
