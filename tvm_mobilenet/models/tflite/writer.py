"""ONNX nodes as they are written, operator by operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import UnsupportedOperatorError
from tvm_mobilenet.machine import RANGES
from tvm_mobilenet.models.tflite.read import File, Op, Tensor, schema

if TYPE_CHECKING:
    import onnx

OPSET = 17

TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]

_CLIPPING: dict[str, tuple[float, float] | None] = {
    "NONE": None,
    "RELU": (0.0, np.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
"""Activations inside of operators, by what they clip to."""


class Writer:
    """The nodes and constants so far.

    Every value is numbers of float32, those of four axes NCHW. What the file rounds to elements
    is quantised and dequantised again; the elements have the tensor's name.

    Attributes
    ----------
    file : File
        What is read.
    numbers : dict of int to str
        By tensor of the file, the numbers that it stands for.
    """

    def __init__(self, file: File) -> None:
        self.file = file
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.numbers: dict[int, str] = {}
        self._taken = {tensor.name for tensor in file.tensors}

    def tensor(self, op: Op, at: int) -> Tensor:
        """Return an input of an operator, or refuse one that lacks it."""
        number = op.inputs[at] if at < len(op.inputs) else -1
        if number < 0:
            raise self.refused(op, f"lacks its input {at}")
        return self.file.tensors[number]

    def output(self, op: Op) -> Tensor:
        """Return the first output of an operator."""
        return self.file.tensors[op.outputs[0]]

    def constant(self, op: Op, at: int) -> NDArray[Any]:
        """Return the numbers of an input that has to be constant, as float32, or integers."""
        tensor = self.tensor(op, at)
        known = self.constants.get(self.numbers.get(op.inputs[at], ""))
        if tensor.value is None and known is not None:  # what stood there in float16
            return known
        if tensor.value is None:
            raise self.refused(op, f"reads {tensor.name!r}, which should be a constant")
        self._require_scale(tensor)
        if not tensor.quantized:
            half = tensor.dtype == "float16"
            return tensor.value.astype(np.float32) if half else tensor.value
        along = [1] * tensor.value.ndim
        if tensor.scale.size > 1:
            along[tensor.axis] = -1
        scale, zero = (
            p.reshape(along) if p.size > 1 else p[0] for p in (tensor.scale, tensor.zero_point)
        )
        return np.asarray((tensor.value.astype(np.int64) - zero) * scale, np.float32)

    def read(self, op: Op, at: int) -> str:
        """Return the numbers of an input that is computed, or of a constant as the file has it."""
        tensor = self.tensor(op, at)
        number = op.inputs[at]
        if number in self.numbers:
            return self.numbers[number]
        if tensor.value is None:
            raise self.refused(op, f"reads {tensor.name!r}, which nothing computes")
        self.numbers[number] = self.store(f"{tensor.name}.constant", self.constant(op, at))
        return self.numbers[number]

    def store(self, name: str, value: Any, dtype: Any = None) -> str:
        """Store a constant."""
        name = self.fresh(name)
        self.constants[name] = np.ascontiguousarray(value, dtype)
        return name

    def fresh(self, name: str) -> str:
        """Return a name that nothing has, and take it."""
        while name in self._taken:
            name += "'"
        self._taken.add(name)
        return name

    def add(self, op: str, inputs: Sequence[str], output: str, **attrs: Any) -> str:
        """Add a node under the name of its output; return that."""
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [output], output, **attrs))
        return output

    def step(self, op: str, inputs: Sequence[str], like: str, **attrs: Any) -> str:
        """Add a node whose output is no tensor of the file."""
        return self.add(op, inputs, self.fresh(like), **attrs)

    def finish(self, op: Op, kind: str, inputs: Sequence[str], **attrs: Any) -> None:
        """Add the node that computes an operator's output; then its activation, and rounding."""
        fused = getattr(op.options, "fusedActivationFunction", 0)
        clipped = self._clipping(op, fused)
        out = self.output(op)
        target = (
            out.name if not out.quantized and clipped is None else self.fresh(f"{out.name}.sums")
        )
        found = self.add(kind, inputs, target, **attrs)
        if clipped is not None:
            last = out.name if not out.quantized else self.fresh(f"{out.name}.clipped")
            found = self.clip(found, clipped, last)
        self.round(op.outputs[0], found)

    def clip(self, source: str, limits: tuple[float, float], output: str) -> str:
        """Add what clips; return its output."""
        if limits == (0.0, np.inf):
            return self.add("Relu", [source], output)
        stored = [self.store(f"{output}.limit", limit, np.float32) for limit in limits]
        return self.add("Clip", [source, *stored], output)

    def round(self, number: int, source: str) -> None:
        """Let a tensor be some numbers, rounded to elements where the file has elements."""
        tensor = self.file.tensors[number]
        self._require_scale(tensor)
        if not tensor.quantized:
            self.numbers[number] = source
            return
        inputs = self.type_of(tensor)
        self.add("QuantizeLinear", [source, *inputs], tensor.name)
        self.numbers[number] = self.step(
            "DequantizeLinear", [tensor.name, *inputs], f"{tensor.name}.numbers"
        )

    def _require_scale(self, tensor: Tensor) -> None:
        if tensor.dtype in RANGES and not tensor.quantized:
            raise UnsupportedOperatorError(
                f"the tensor {tensor.name!r} of {self.file.where!r} is {tensor.dtype} without a "
                "scale",
                "convert the model again, in float32 or quantised",
            )

    def type_of(self, tensor: Tensor) -> list[str]:
        """Return the scale and zero point of a value as a step reads them."""
        if tensor.scale.size != 1:
            raise UnsupportedOperatorError(
                f"the tensor {tensor.name!r} of {self.file.where!r} is computed, and has "
                f"{tensor.scale.size} scales",
                "convert the model again: weights alone have a scale for each channel",
            )
        scale = self.store(f"{tensor.name}.scale", tensor.scale[0], np.float32)
        return [scale, self.store(f"{tensor.name}.zero_point", tensor.zero_point[0], tensor.dtype)]

    def moved(self, op: Op, kind: str, inputs: Sequence[str], **attrs: Any) -> None:
        """Add a node that gives some of the numbers it reads: nothing is rounded again."""
        source, out = self.tensor(op, 0), self.output(op)
        alike = (
            source.dtype == out.dtype
            and np.array_equal(source.scale, out.scale)
            and np.array_equal(source.zero_point, out.zero_point)
        )
        if not alike:
            self.finish(op, kind, inputs, **attrs)
            return
        self.numbers[op.outputs[0]] = self.add(kind, inputs, out.name, **attrs)

    def last_channels(self, source: str, rank: int) -> str:
        """Return numbers in the order of axes that the file has."""
        if rank != 4:
            return source
        return self.step("Transpose", [source], f"{source}.nhwc", perm=TO_NHWC)

    def _clipping(self, op: Op, number: int) -> tuple[float, float] | None:
        names = {
            v: k for k, v in vars(schema().ActivationFunctionType).items() if isinstance(v, int)
        }
        name = names.get(number, str(number))
        if name not in _CLIPPING:
            raise self.refused(op, f"has the activation {name}")
        return _CLIPPING[name]

    def refused(self, op: Op, why: str) -> UnsupportedOperatorError:
        """Return the error for an operator that is not taken."""
        return UnsupportedOperatorError(
            f"{self.file.told(op)} {why}", "convert the model without it, or to ONNX"
        )
