"""What each operator of TensorFlow Lite is in ONNX's, and a whole file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tvm_mobilenet.errors import InvalidModelError, TfliteFileError
from tvm_mobilenet.models.tflite.activations import ACTIVATIONS
from tvm_mobilenet.models.tflite.read import File, Op, Tensor, unpacked
from tvm_mobilenet.models.tflite.windows import convolution, dense, depthwise, pool
from tvm_mobilenet.models.tflite.writer import OPSET, TO_NCHW, TO_NHWC, Writer

if TYPE_CHECKING:
    import onnx

_IR_VERSION = 8
_MAP = 4
"""Axes of a map, which is NCHW in ONNX."""

_Rule = Callable[[Writer, Op], None]


def to_onnx(content: bytes, where: str) -> onnx.ModelProto:
    """Return a TensorFlow Lite file as ONNX, with QuantizeLinear where it has elements.

    Its input is the file's, NHWC; bytes stay bytes, int8 becomes the numbers that it stands for.
    So do outputs.

    Parameters
    ----------
    where : str
        Path of the file, for messages.

    Raises
    ------
    TfliteFileError
        The file is cut or damaged, or a scale or zero point cannot be.
    UnsupportedOperatorError
        An operator, which the message names, is not taken.
    InvalidModelError
        It has not one input, or that is of a type that is not taken.
    NotInstalledError
        The package ai-edge-litert is not installed.
    """
    from onnx import TensorProto, helper, numpy_helper

    file = unpacked(content, where)
    made = Writer(file)
    graph_input = _begin(made)
    needed = _needed(file)
    for op in file.operators:
        if needed.intersection(op.outputs):
            rule = _RULES.get(op.kind)
            if rule is None:
                raise made.refused(op, "is not taken")
            rule(made, op)
    outputs = [_end(made, number) for number in file.outputs]
    graph = helper.make_graph(
        made.nodes,
        "tflite",
        [graph_input],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in made.constants.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION
    )


def _needed(file: File) -> set[int]:
    """Return the tensors that the outputs need; the shapes of reshapes are known without."""
    needed = set(file.outputs)
    for op in reversed(file.operators):
        if needed.intersection(op.outputs):
            needed.update(op.inputs[:1] if op.kind in _RESHAPING else op.inputs)
    return needed


def _begin(made: Writer) -> onnx.ValueInfoProto:
    """Add the input, and what makes NCHW numbers of it."""
    from onnx import TensorProto, helper

    file = made.file
    if len(file.inputs) != 1 or file.inputs[0] < 0:
        raise InvalidModelError(
            f"{file.where!r} has {len(file.inputs)} inputs; it should have one, an image",
            "convert the model with everything else as constants",
        )
    (number,) = file.inputs
    tensor = file.tensors[number]
    kinds = {
        "float32": TensorProto.FLOAT, "int8": TensorProto.FLOAT, "uint8": TensorProto.UINT8,
        "float16": TensorProto.FLOAT16,
    }  # fmt: skip
    if tensor.dtype not in kinds or (tensor.dtype == "int8" and not tensor.quantized):
        raise InvalidModelError(
            f"the input {tensor.name!r} of {file.where!r} is {tensor.dtype}, none of "
            f"{', '.join(kinds)}",
            "convert the model for one of these",
        )
    name = tensor.name if tensor.dtype != "int8" else made.fresh(f"{tensor.name}.float32")
    sizes = ["N" if axis in tensor.open else size for axis, size in enumerate(tensor.shape)]
    named = [f"{size}{axis}" if size == "N" else size for axis, size in enumerate(sizes)]
    source, is_map = name, len(tensor.shape) == _MAP
    if tensor.dtype == "uint8" and tensor.quantized:
        source = made.step("DequantizeLinear", [name, *made.type_of(tensor)], f"{name}.numbers")
    elif tensor.dtype in ("uint8", "float16"):
        source = made.step("Cast", [name], f"{name}.float32", to=TensorProto.FLOAT)
    if is_map:
        source = made.step("Transpose", [source], f"{name}.nchw", perm=TO_NCHW)
    if tensor.dtype == "int8":
        made.round(number, source)
    else:
        made.numbers[number] = source
    return helper.make_tensor_value_info(name, kinds[tensor.dtype], named)


def _end(made: Writer, number: int) -> str:
    """Return the tensor that an output is, in the order of axes of the file."""
    tensor = made.file.tensors[number] if number >= 0 else None
    if tensor is None or number not in made.numbers:
        name = "an output" if tensor is None else f"the output {tensor.name!r}"
        raise TfliteFileError(
            f"nothing in {made.file.where!r} computes {name}", "copy or convert it again"
        )
    found = made.last_channels(made.numbers[number], len(tensor.shape))
    return found if found not in made.constants else made.step("Identity", [found], f"{found}.out")


# Operators without windows.


def _numbers(made: Writer, op: Op, at: int, out: Tensor) -> str:
    """Return an operand in the order of axes of its operator's output."""
    tensor, rank = made.tensor(op, at), len(out.shape)
    if tensor.value is not None:
        value = made.constant(op, at).astype(np.float32)
        if rank == _MAP and value.ndim:
            value = value.reshape((1,) * (rank - value.ndim) + value.shape).transpose(TO_NCHW)
        return made.store(f"{tensor.name}.operand", value)
    if len(tensor.shape) not in (0, rank) and _MAP in (len(tensor.shape), rank):
        raise made.refused(op, f"reads {tensor.name!r} of shape {tensor.shape}")
    return made.read(op, at)


def _elementwise(kind: str) -> _Rule:
    def rule(made: Writer, op: Op) -> None:
        out = made.output(op)
        made.finish(op, kind, [_numbers(made, op, at, out) for at in range(len(op.inputs))])

    return rule


def _clip(low: float, high: float) -> _Rule:
    def rule(made: Writer, op: Op) -> None:
        out = made.output(op)
        last = made.fresh(f"{out.name}.clipped") if out.quantized else out.name
        made.round(op.outputs[0], made.clip(made.read(op, 0), (low, high), last))

    return rule


def _axis(made: Writer, op: Op, axis: int, rank: int) -> int:
    """Return where an axis of the file is in ONNX."""
    if not -rank <= axis < rank:
        raise made.refused(op, f"has axis {axis} of {rank}")
    return TO_NHWC[axis % rank] if rank == _MAP else axis % rank


def _along_last(kind: str, **attrs: int) -> _Rule:
    def rule(made: Writer, op: Op) -> None:
        rank = len(made.tensor(op, 0).shape)
        beta = getattr(op.options, "beta", 1.0)
        if beta != 1.0:
            raise made.refused(op, f"has beta {beta:g}")
        axis = _axis(made, op, -1, rank)
        made.finish(op, kind, [made.read(op, 0)], axis=axis, **attrs)

    return rule


def _mean(made: Writer, op: Op) -> None:
    tensor, out = made.tensor(op, 0), made.output(op)
    rank, keep = len(tensor.shape), int(getattr(op.options, "keepDims", False))
    axes = sorted(_axis(made, op, int(axis), rank) for axis in made.constant(op, 1).ravel())
    source = made.read(op, 0)
    rest = [axis for axis in range(rank) if axis not in axes]
    if rank == _MAP and not keep and rest != sorted(rest, key=lambda axis: TO_NCHW[axis]):
        raise made.refused(op, f"reduces the axes {axes} of a map and drops them")
    if len(out.shape) == _MAP and rank != _MAP:
        raise made.refused(op, f"gives a tensor of shape {out.shape}")
    made.finish(op, "ReduceMean", [source], axes=axes, keepdims=keep)


def _concatenation(made: Writer, op: Op) -> None:
    out = made.output(op)
    axis = _axis(made, op, getattr(op.options, "axis", 0), len(out.shape))
    parts = [made.read(op, at) for at in range(len(op.inputs))]
    types = {
        (tensor.dtype, tensor.scale.tobytes(), tensor.zero_point.tobytes())
        for tensor in (made.file.tensors[number] for number in op.inputs)
    }
    fused = getattr(op.options, "fusedActivationFunction", 0)
    add = made.moved if len(types) == 1 and not fused else made.finish
    add(op, "Concat", parts, axis=axis)


def _reshape(made: Writer, op: Op) -> None:
    """RESHAPE and what else only says other sizes: those are the output's."""
    tensor, out = made.tensor(op, 0), made.output(op)
    source = made.last_channels(made.read(op, 0), len(tensor.shape))
    kept = bool(tensor.shape and out.shape) and tensor.shape[0] == out.shape[0]
    sizes = [0 if axis == 0 and kept else size for axis, size in enumerate(out.shape)]
    shape = made.store(f"{out.name}.shape", sizes, np.int64)
    if len(out.shape) != _MAP:
        made.moved(op, "Reshape", [source, shape])
        return
    found = made.step("Reshape", [source, shape], f"{out.name}.nhwc")
    made.moved(op, "Transpose", [found], perm=TO_NCHW)


def _pad(made: Writer, op: Op) -> None:
    tensor = made.tensor(op, 0)
    pads, rank = made.constant(op, 1), len(tensor.shape)
    if pads.shape != (rank, 2):
        raise made.refused(op, f"pads {rank} axes by numbers of shape {pads.shape}")
    ordered = pads[TO_NCHW] if rank == _MAP else pads
    inputs = [made.read(op, 0), made.store(f"{tensor.name}.pads", ordered.T.ravel(), np.int64)]
    if len(op.inputs) > 2:
        inputs.append(
            made.store(f"{tensor.name}.border", made.constant(op, 2).ravel()[0], np.float32)
        )
    made.moved(op, "Pad", inputs)


def _transpose(made: Writer, op: Op) -> None:
    rank = len(made.tensor(op, 0).shape)
    perm = [int(axis) for axis in made.constant(op, 1).ravel()]
    if sorted(perm) != [*range(rank)]:
        raise made.refused(op, f"transposes {rank} axes by {perm}")
    if rank == _MAP:
        perm = [TO_NHWC[perm[axis]] for axis in TO_NCHW]
    made.moved(op, "Transpose", [made.read(op, 0)], perm=perm)


def _round(made: Writer, op: Op) -> None:
    """QUANTIZE and DEQUANTIZE: of one type, or none, into another."""
    tensor = made.tensor(op, 0)
    if tensor.value is not None:
        made.numbers[op.outputs[0]] = made.store(f"{tensor.name}.numbers", made.constant(op, 0))
        return
    made.round(op.outputs[0], made.read(op, 0))


_RESHAPING = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS"}

_RULES: dict[str, _Rule] = {
    **ACTIVATIONS,
    "ADD": _elementwise("Add"),
    "AVERAGE_POOL_2D": pool("AveragePool"),
    "CONCATENATION": _concatenation,
    "CONV_2D": convolution,
    "DEPTHWISE_CONV_2D": depthwise,
    "DEQUANTIZE": _round,
    "DIV": _elementwise("Div"),
    "FULLY_CONNECTED": dense,
    "HARD_SWISH": _elementwise("HardSwish"),
    "L2_NORMALIZATION": _along_last("LpNormalization", p=2),
    "LOGISTIC": _elementwise("Sigmoid"),
    "MAXIMUM": _elementwise("Max"),
    "MAX_POOL_2D": pool("MaxPool"),
    "MEAN": _mean,
    "MINIMUM": _elementwise("Min"),
    "MUL": _elementwise("Mul"),
    "PAD": _pad,
    "PADV2": _pad,
    "QUANTIZE": _round,
    "RELU": _clip(0.0, np.inf),
    "RELU6": _clip(0.0, 6.0),
    "RELU_0_TO_1": _clip(0.0, 1.0),
    "RELU_N1_TO_1": _clip(-1.0, 1.0),
    "SOFTMAX": _along_last("Softmax"),
    "SUB": _elementwise("Sub"),
    "TANH": _elementwise("Tanh"),
    "TRANSPOSE": _transpose,
    **dict.fromkeys(_RESHAPING, _reshape),
}
