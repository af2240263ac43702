"""After the memory plan: the entry function, read as calls of kernels on buffers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax, tirx

from tvm_mobilenet.artifact.calls import Buffer, KernelCall, NetworkCalls, Place, View
from tvm_mobilenet.emit.relax.reading import array_of, bindings, bytes_of, is_constant, sizes_of
from tvm_mobilenet.errors import CodegenError

_VIEWS = ("relax.memory.alloc_tensor", "relax.memory.view", "relax.reshape")
"""What has the memory of its first argument."""


def read_calls(func: Any, place: Callable[[bytes], int]) -> NetworkCalls:
    """Follow the bindings of an entry function whose memory is planned.

    Parameters
    ----------
    func : relax.Function
        Its kernels are called directly, output last.
    place : callable
        From the bytes of a constant to where they begin among the weights.

    Raises
    ------
    CodegenError
        The network does something else than to call kernels.
    """
    reader = _Reader(place)
    for param in func.params:
        reader.define(param, "input", bytes_of(param))
    for binding in bindings(func):
        reader.bind(binding.var, binding.value)
    outputs = tuple(reader.returned(func.body.body))
    return NetworkCalls(tuple(reader.buffers), tuple(reader.calls), outputs)


class _Reader:
    """Every variable is a view of a buffer, or several."""

    def __init__(self, place: Callable[[bytes], int]) -> None:
        self.buffers: list[Buffer] = []
        self.calls: list[KernelCall] = []
        self._place = place
        self._numbers: dict[Any, int] = {}
        self._tuples: dict[Any, list[Any]] = {}
        self._weights: dict[int, int] = {}

    def define(self, var: Any, place: Place, size: int) -> None:
        """Give a variable a buffer of its own."""
        self._numbers[var] = self._add(Buffer(place, size))

    def bind(self, var: Any, value: Any) -> None:
        """Read one binding."""
        if isinstance(value, relax.Tuple) and value.fields:
            self._tuples[var] = list(value.fields)
        elif isinstance(value, relax.TupleGetItem) and value.tuple_value in self._tuples:
            self._numbers[var] = self._number(self._tuples[value.tuple_value][value.index])
        elif isinstance(value, relax.Var):
            self._numbers[var] = self._number(value)
        elif isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.GlobalVar):
            arguments = tuple(map(self._argument, value.args))
            self.calls.append(KernelCall(str(value.op.name_hint), arguments))
        else:
            self._memory(var, value)

    def returned(self, value: Any) -> list[View]:
        """Return what the function does."""
        return [self._view(field) for field in self._tuples.get(value, [value])]

    def _memory(self, var: Any, value: Any) -> None:
        """Read what a builtin of Relax allocates or views."""
        name = str(getattr(getattr(value, "op", None), "name", ""))
        if name == "relax.memory.alloc_storage":
            self.define(var, "storage", int(value.args[0].values[0]))
        elif name == "relax.builtin.alloc_tensor" and sizes_of(var) is not None:
            self.define(var, "output", bytes_of(var))
        elif name in _VIEWS:
            self._numbers[var] = self._number(value.args[0])
        else:
            raise _odd(value)

    def _argument(self, value: Any) -> View | int:
        return int(value) if isinstance(value, tirx.IntImm) else self._view(value)

    def _view(self, value: Any) -> View:
        number = self._number(value)
        sizes = sizes_of(value)
        if sizes is None:
            raise _odd(value)
        return View(number, sizes, str(value.ty.dtype))

    def _number(self, value: Any) -> int:
        if is_constant(value):
            return self._constant(array_of(value).tobytes())
        if value not in self._numbers:
            raise _odd(value)
        return self._numbers[value]

    def _constant(self, data: bytes) -> int:
        offset = self._place(data)
        if offset not in self._weights:
            self._weights[offset] = self._add(Buffer("weights", len(data), offset))
        return self._weights[offset]

    def _add(self, buffer: Buffer) -> int:
        self.buffers.append(buffer)
        return len(self.buffers) - 1


def _odd(value: Any) -> CodegenError:
    return CodegenError(
        f"the network has {str(value).splitlines()[0]!r} between its kernels, and only kernels "
        "can be called without TVM's virtual machine",
        "compile it for a processor, or for CUDA",
    )
