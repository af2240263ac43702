"""Reads a TensorFlow Lite file: unpacked by the schema's own package, and checked.

Format: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import (
    NotInstalledError,
    QuantizationError,
    TfliteFileError,
    UnsupportedOperatorError,
)
from tvm_mobilenet.machine import RANGES, Dtype
from tvm_mobilenet.models.layer import Shape
from tvm_mobilenet.models.tensors import TensorType

_IDENTIFIER = b"TFL3"
_DTYPES = {
    "FLOAT32": "float32", "FLOAT16": "float16", "INT32": "int32", "UINT8": "uint8",
    "INT64": "int64", "BOOL": "bool", "INT16": "int16", "INT8": "int8",
}  # fmt: skip
"""The schema's names of the types that are read, and NumPy's."""
_INLINE = 1
"""Largest offset that says a buffer's data is in the buffer itself."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the file.

    Attributes
    ----------
    shape : tuple of int
        Its sizes, maps NHWC.
    open : tuple of int
        Axes whose size the file leaves open; `shape` has 1 there.
    dtype : str
        NumPy's name of its type, or the schema's of one that is not read.
    value : ndarray or None
        The numbers or elements of a constant.
    scale : ndarray
        What one more stands for: one number, one for each index of `axis`, or none.
    zero_point : ndarray
        The element that stands for 0, for each scale.
    axis : int
        The axis that has several scales.
    """

    name: str
    shape: Shape
    open: tuple[int, ...]
    dtype: str
    value: NDArray[Any] | None
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int

    @property
    def quantized(self) -> bool:
        """Whether it is of elements of 8 bits."""
        return self.dtype in RANGES and self.scale.size > 0


@dataclass(frozen=True, slots=True)
class Op:
    """An operator of the file.

    Attributes
    ----------
    kind : str
        The schema's name of it, such as ``"CONV_2D"``.
    inputs, outputs : tuple of int
        Numbers of tensors; -1 for one that is left out.
    options : object
        The schema's table of its options, None where it has none.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


@dataclass(frozen=True, slots=True)
class File:
    """A network of the file: its first graph.

    Attributes
    ----------
    where : str
        Path, for messages.
    tensors : tuple of Tensor
        By their numbers.
    operators : tuple of Op
        In an order in which they can be computed.
    """

    where: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def told(self, op: Op) -> str:
        """Return what messages call an operator: the tensor that it computes."""
        return f"the node {self.tensors[op.outputs[0]].name!r} of {self.where!r}, {op.kind},"


def schema() -> Any:
    """Return the module that unpacks the format.

    Raises
    ------
    NotInstalledError
        The package is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError:
        raise NotInstalledError(
            "TensorFlow Lite files are unpacked by the package ai-edge-litert, which is not "
            "installed",
            "pip install 'tvm-mobilenet[tflite]'",
        ) from None
    return schema_py_generated


def unpacked(content: bytes, where: str) -> File:
    """Return what a file contains.

    Raises
    ------
    TfliteFileError
        It is no TensorFlow Lite file, is cut or damaged, or a scale or zero point cannot be.
    UnsupportedOperatorError
        It has an operator that is not TensorFlow Lite's own, or sparse weights.
    NotInstalledError
        The schema's package is not installed.
    """
    if content[4:8] != _IDENTIFIER:
        raise TfliteFileError(
            f"{where!r} is no TensorFlow Lite file", "give a .tflite file as a converter writes it"
        )
    try:
        model = schema().ModelT.InitFromPackedBuf(content, 0)
    except NotInstalledError:
        raise
    # A position beyond the end: struct, NumPy and flatbuffers each say so in their own way.
    except Exception as error:
        raise _damaged(where, f"it cannot be unpacked: {error}") from None
    return _Reader(content, where, model).file()


def _damaged(where: str, why: str) -> TfliteFileError:
    return TfliteFileError(f"{where!r} is cut or damaged: {why}", "copy or convert it again")


class _Reader:
    def __init__(self, content: bytes, where: str, model: Any) -> None:
        self._content, self._where, self._model, self._schema = content, where, model, schema()
        self._types = _names(self._schema.TensorType)
        self._kinds = _names(self._schema.BuiltinOperator)

    def file(self) -> File:
        graphs = self._model.subgraphs or [None]
        graph = graphs[0]
        if graph is None or not graph.operators or not graph.tensors:
            raise _damaged(self._where, "it holds no network")
        tensors = self._named([self._tensor(at, t) for at, t in enumerate(graph.tensors)])
        numbers = len(tensors)
        inputs, outputs = (
            self._numbers("the graph", found, numbers) for found in (graph.inputs, graph.outputs)
        )
        operators = tuple(self._operator(op, tensors) for op in graph.operators)
        return File(self._where, tensors, operators, inputs, outputs)

    @staticmethod
    def _named(tensors: list[Tensor]) -> tuple[Tensor, ...]:
        """Give each tensor a name that no other has."""
        taken: set[str] = set()
        found = []
        for at, tensor in enumerate(tensors):
            name = tensor.name or f"tensor{at}"
            name = name if name not in taken else f"{name}#{at}"
            taken.add(name)
            values = {field: getattr(tensor, field) for field in Tensor.__slots__}
            found.append(Tensor(**values | {"name": name}))
        return tuple(found)

    def _numbers(self, what: str, given: Any, known: int) -> tuple[int, ...]:
        found = tuple(map(int, () if given is None else given))
        if any(not -1 <= number < known for number in found):
            raise _damaged(self._where, f"{what} has tensors {found}, of {known}")
        return found

    def _operator(self, op: Any, tensors: tuple[Tensor, ...]) -> Op:
        codes = self._model.operatorCodes or []
        if op is None or not 0 <= op.opcodeIndex < len(codes) or codes[op.opcodeIndex] is None:
            raise _damaged(self._where, "an operator has a code that is not there")
        code = codes[op.opcodeIndex]
        number = max(code.deprecatedBuiltinCode, code.builtinCode)
        kind = self._kinds.get(number, f"operator {number}")
        inputs = self._numbers(kind, op.inputs, len(tensors))
        outputs = self._numbers(kind, op.outputs, len(tensors))
        if not outputs or min(outputs) < 0:
            raise _damaged(self._where, f"an operator {kind} gives nothing")
        found = Op(kind, inputs, outputs, op.builtinOptions)
        if kind == "CUSTOM":
            custom = (code.customCode or b"").decode(errors="replace")
            raise UnsupportedOperatorError(
                f"the node {tensors[outputs[0]].name!r} of {self._where!r} is a custom operator: "
                f"{custom}",
                "convert the model with TensorFlow Lite's own operators",
            )
        return found

    def _tensor(self, at: int, tensor: Any) -> Tensor:
        if tensor is None:
            raise _damaged(self._where, f"tensor {at} is not there")
        name = (tensor.name or b"").decode(errors="replace")
        told = f"the tensor {name or at!r}"
        shape = tuple(map(int, () if tensor.shape is None else tensor.shape))
        signature = shape if tensor.shapeSignature is None else tensor.shapeSignature
        unknown = tuple(axis for axis, size in enumerate(signature) if size < 0)
        shape = tuple(1 if size < 0 else size for size in shape)
        if tensor.sparsity is not None:
            raise UnsupportedOperatorError(
                f"{told} of {self._where!r} is sparse", "convert the model with dense weights"
            )
        kind = self._types.get(tensor.type, str(tensor.type))
        dtype = _DTYPES.get(kind, kind)
        value = self._value(told, tensor.buffer, shape, dtype)
        scale, zero, axis = self._scales(told, tensor.quantization, shape, dtype)
        return Tensor(name, shape, unknown, dtype, value, scale, zero, axis)

    def _value(self, told: str, buffer: int, shape: Shape, dtype: str) -> NDArray[Any] | None:
        """Return a constant; None of what is computed."""
        buffers = self._model.buffers or []
        if not 0 <= buffer < len(buffers) or buffers[buffer] is None:
            raise _damaged(self._where, f"{told} has a buffer that is not there")
        found = buffers[buffer]
        data: Any = b"" if found.data is None else found.data
        if found.offset > _INLINE:  # beyond 2 GB data stands behind the flatbuffer
            data = self._content[found.offset : found.offset + found.size]
            if len(data) < found.size:
                raise _damaged(self._where, f"the numbers of {told} end beyond it")
        if not len(data) or dtype not in _DTYPES.values():
            return None
        wanted = math.prod(shape) * np.dtype(dtype).itemsize
        if len(data) != wanted:
            raise _damaged(self._where, f"{told} has {len(data)} bytes, and should have {wanted}")
        return np.frombuffer(bytes(data), dtype).reshape(shape)

    def _scales(
        self, told: str, given: Any, shape: Shape, dtype: str
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
        """Return scales, zero points and the axis that has several; empty without any."""
        scale: NDArray[np.float32] = np.zeros(0, np.float32)
        zero: NDArray[np.int64] = np.zeros(0, np.int64)
        if given is None or given.scale is None or not len(given.scale) or dtype not in RANGES:
            return scale, zero, 0
        scale = np.asarray(given.scale, np.float32)
        if given.zeroPoint is not None and len(given.zeroPoint):
            zero = np.asarray(given.zeroPoint, np.int64)
        zero = (
            zero
            if zero.size == scale.size
            else np.resize(zero if zero.size == 1 else 0, scale.size)
        )
        axis = int(given.quantizedDimension)
        several = scale.size > 1
        if several and not (0 <= axis < len(shape) and shape[axis] == scale.size):
            raise _damaged(
                self._where, f"{told} has {scale.size} scales along axis {axis} of {shape}"
            )
        for one, other in zip(scale.tolist(), zero.tolist(), strict=True):
            try:
                TensorType(cast("Dtype", dtype), (one,), other)
            except QuantizationError as error:
                raise TfliteFileError(
                    f"{told} of {self._where!r} cannot be: {error.what}", error.remedy
                ) from None
        return scale, zero, axis


def _names(enumeration: Any) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if isinstance(number, int)}
