"""The pickles of ``torch.save``, interpreted without torch; nothing in them is executed.

A pickle is a program. This interprets the few instructions that a state dict consists of, lets
it name what a state dict names, and puts inert things of its own in their place. Python's own
interpreter is not asked: nothing bounds the work that it does. Tensors stay claims;
:mod:`tvm_mobilenet.models.checkpoints.torch_files` compares them with the bytes there are.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

_LARGEST = 1 << 24
"""Bytes of one pickle: tens of times what any MobileNet's takes."""
_MOST_STEPS = 1 << 19
"""Instructions of one pickle: tens of times as many."""
_MOST_AXES = 8
_MOST_ARGUMENTS = 16

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
        NumPy's name of the type, without byte order, or :data:`BFLOAT16`.
    key : str
        Name of the storage in the file.
    elements : int
        How many numbers the file claims it has.
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
class _StorageType:
    dtype: str


class _Dict(dict[Any, Any]):
    """An OrderedDict, whose attributes (``_metadata``) are of no interest."""


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
        The object that it makes, of dictionaries, lists, tuples, numbers, texts and
        :class:`Tensor`; and the offset of its end in bytes.

    Raises
    ------
    RefusedError
        It contains anything that no state dict contains.
    """
    stream = io.BytesIO(data[start : start + _LARGEST])
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            machine.step(opcode.name, argument)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise RefusedError(f"is no readable PyTorch state dict: {error}") from error
    return machine.result, start + stream.tell()


class _Machine:
    """Takes one instruction at a time, none of which does more than a fixed amount of work.

    Values are immutable, or grow by what an instruction names. Keys are numbers and texts:
    of nested tuples even the hash may take for ever.
    """

    result: Any = None

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._work = 0

    def step(self, name: str, argument: Any) -> None:
        """Do one instruction."""
        self._spend(1)
        if name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _ARGUMENTS:
            self._stack.append(argument)
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        else:
            raise RefusedError(f"holds the pickle instruction {name}: no state dict")

    def mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def stop(self, _: Any) -> None:
        self.result = self._pop()

    def new(self, kind: Callable[[], Any]) -> None:
        self._stack.append(kind())

    def tuple_of(self, count: int) -> None:
        self._stack.append(tuple(reversed([self._pop() for _ in range(count)])))

    def tuple_since_mark(self, _: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def append(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise RefusedError("appends to what is no list")
        target += values

    def put(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(values) % 2:
            raise RefusedError("puts items into what is no dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # Larger integers can be chosen so that all have one hash.
            if not isinstance(key, str) and not (type(key) is int and 0 <= key < _MOST_STEPS):
                raise RefusedError(f"has a {type(key).__name__} where a name belongs")
            target[key] = value

    def remember(self, number: int | None) -> None:
        self._memo[len(self._memo) if number is None else number] = self._stack[-1]

    def recall(self, number: int) -> None:
        self._stack.append(self._memo[number])

    def named(self, text: str | None) -> None:
        """Put something inert for a name: its module and itself, which may be on the stack."""
        if text is None:
            name, module = self._pop(), self._pop()
        else:
            module, _, name = text.partition(" ")
        if not (isinstance(module, str) and isinstance(name, str)):
            raise RefusedError("has a name that is no text")
        if (module, name) in _CALLED:
            self._stack.append(_CALLED[module, name])
        elif module == "torch" and name in _STORAGES:
            self._stack.append(_StorageType(_STORAGES[name]))
        else:
            raise RefusedError(
                f"names {f'{module}.{name}'!r}, which has no place in a state dict; nothing was run"
            )

    def call(self, _: Any) -> None:
        arguments, function = self._pop(), self._pop()
        if not any(function is known for known in _CALLED.values()):
            raise RefusedError("calls what is no function")
        if not isinstance(arguments, tuple) or len(arguments) > _MOST_ARGUMENTS:
            raise RefusedError("calls a function with what are no arguments")
        self._stack.append(function(*arguments))
        if function is _ordered and arguments:
            # As Python 2 wrote them: with all pairs in the call.
            (pairs,) = arguments
            self._spend(len(pairs))
            self.put([part for key, value in pairs for part in (key, value)])

    def build(self, _: Any) -> None:
        self._pop()
        if not isinstance(self._stack[-1], _Dict):
            raise RefusedError("gives attributes to what is no OrderedDict")

    def storage(self, _: Any) -> None:
        pid = self._pop()
        if not isinstance(pid, tuple) or len(pid) not in (5, 6):
            raise RefusedError("refers to what is no storage")
        kind, storage_type, key, _, count, *view = pid
        # Nothing of another type is put into words: a few nested tuples can fill the memory.
        typed = isinstance(storage_type, _StorageType) and isinstance(key, str)
        named = isinstance(kind, str) and kind == "storage"
        if not named or not typed or any(part is not None for part in view):
            raise RefusedError("refers to what is no storage of its own")
        self._stack.append(Storage(storage_type.dtype, key, _whole(count)))

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > _MOST_STEPS:
            raise RefusedError("takes more steps than the weights of any MobileNet")

    def _pop(self) -> Any:
        if self._marks and len(self._stack) <= self._marks[-1]:
            raise RefusedError("takes what lies behind a mark")
        return self._stack.pop()

    def _since_mark(self) -> list[Any]:
        at = self._marks.pop()
        values = self._stack[at:]
        del self._stack[at:]
        return values


def _ordered(*_: Any) -> _Dict:
    return _Dict()


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


_CALLED: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("collections", "OrderedDict"): _ordered,
}
"""Functions that a state dict names, and what is called in their place."""

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_ARGUMENTS = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "SHORT_BINSTRING", "BINSTRING"),
    )
)
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "STOP": _Machine.stop,
    "MARK": _Machine.mark,
    "EMPTY_DICT": lambda machine, _: machine.new(dict),
    "EMPTY_LIST": lambda machine, _: machine.new(list),
    "TUPLE": _Machine.tuple_since_mark,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.append([machine._pop()]),
    "APPENDS": lambda machine, _: machine.append(machine._since_mark()),
    "SETITEM": lambda machine, _: machine.put([*reversed((machine._pop(), machine._pop()))]),
    "SETITEMS": lambda machine, _: machine.put(machine._since_mark()),
    "MEMOIZE": _Machine.remember,
    "BINPUT": _Machine.remember,
    "LONG_BINPUT": _Machine.remember,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "GLOBAL": _Machine.named,
    "STACK_GLOBAL": _Machine.named,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.storage,
}
"""With those above, what ``torch.save`` writes for a state dict in protocols 2 to 4."""
