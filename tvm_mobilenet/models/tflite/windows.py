"""Convolutions, products and pools of TensorFlow Lite in ONNX's operators."""

from __future__ import annotations

from typing import Any

import numpy as np

from tvm_mobilenet.models.tflite.read import Op
from tvm_mobilenet.models.tflite.writer import Writer

_SAME = 0
"""The schema's number of the padding that keeps a map's size."""


def convolution(made: Writer, op: Op) -> None:
    """CONV_2D: weights OHWI."""
    weight = made.tensor(op, 1)
    if len(weight.shape) != 4 or len(made.tensor(op, 0).shape) != 4:
        raise made.refused(op, f"has weights of shape {weight.shape}")
    groups, rest = divmod(made.tensor(op, 0).shape[3], weight.shape[3])
    if rest or not groups:
        raise made.refused(op, f"has weights of shape {weight.shape}")
    _product(made, op, (0, 3, 1, 2), "Conv", group=groups, **_windows(made, op))


def depthwise(made: Writer, op: Op) -> None:
    """DEPTHWISE_CONV_2D: weights of one set of windows, channels last."""
    weight, source = made.tensor(op, 1), made.tensor(op, 0)
    if len(weight.shape) != 4 or weight.shape[0] != 1 or len(source.shape) != 4:
        raise made.refused(op, f"has weights of shape {weight.shape}")
    _product(made, op, (3, 0, 1, 2), "Conv", group=source.shape[3], **_windows(made, op))


def dense(made: Writer, op: Op) -> None:
    """FULLY_CONNECTED: rows of what it reads, weights (O, I)."""
    weight, source, out = made.tensor(op, 1), made.tensor(op, 0), made.output(op)
    if getattr(op.options, "weightsFormat", 0) or len(weight.shape) != 2:
        raise made.refused(op, f"has weights of shape {weight.shape}, or in an order of its own")
    if len(out.shape) != 2:
        raise made.refused(op, f"gives a tensor of {len(out.shape)} axes")
    rows = made.read(op, 0)
    if len(source.shape) != 2:
        shape = made.store(f"{out.name}.rows", [-1, weight.shape[1]], np.int64)
        rows = made.last_channels(rows, len(source.shape))
        rows = made.step("Reshape", [rows, shape], f"{out.name}.flat")
    _product(made, op, (0, 1), "Gemm", source=rows, transB=1)


def pool(kind: str) -> Any:
    """Return the rule of AVERAGE_POOL_2D or MAX_POOL_2D."""

    def rule(made: Writer, op: Op) -> None:
        options = op.options
        if options is None or len(made.tensor(op, 0).shape) != 4:
            raise made.refused(op, "says no size of its windows")
        attrs = _windows(made, op) | {"kernel_shape": [options.filterHeight, options.filterWidth]}
        add = (
            made.moved if kind == "MaxPool" and not options.fusedActivationFunction else made.finish
        )
        add(op, kind, [made.read(op, 0)], **attrs)

    return rule


def _windows(made: Writer, op: Op) -> dict[str, Any]:
    options = op.options
    if options is None or min(options.strideH, options.strideW) < 1:
        raise made.refused(op, "says no stride")
    found: dict[str, Any] = {
        "strides": [options.strideH, options.strideW],
        "auto_pad": "SAME_UPPER" if options.padding == _SAME else "VALID",
    }
    dilations = [getattr(options, f"dilation{axis}Factor", 1) for axis in "HW"]
    if min(dilations) < 1:
        raise made.refused(op, f"is dilated by {dilations}")
    return found | ({"dilations": dilations} if max(dilations) > 1 else {})


def _product(
    made: Writer, op: Op, axes: tuple[int, ...], kind: str, source: str = "", **attrs: Any
) -> None:
    """Add a product with weights, whose axes are brought into ONNX's order, and a bias."""
    inputs = [source or made.read(op, 0), _weight(made, op, axes)]
    if len(op.inputs) > 2 and op.inputs[2] >= 0:
        inputs.append(_bias(made, op))
    made.finish(op, kind, inputs, **attrs)


def _weight(made: Writer, op: Op, axes: tuple[int, ...]) -> str:
    tensor = made.tensor(op, 1)
    if not tensor.quantized or tensor.value is None:
        return made.store(f"{tensor.name}.weight", made.constant(op, 1).transpose(axes))
    several = tensor.scale.size > 1
    parameters = (tensor.scale, tensor.zero_point.astype(tensor.dtype))
    elements = made.store(f"{tensor.name}.elements", tensor.value.transpose(axes))
    stored = [made.store(f"{tensor.name}.type", p if several else p[0]) for p in parameters]
    attrs = {"axis": axes.index(tensor.axis)} if several else {}
    return made.step("DequantizeLinear", [elements, *stored], f"{tensor.name}.weight", **attrs)


def _bias(made: Writer, op: Op) -> str:
    """Return a bias: of 32 bits it is in units of what is read times those of the weight."""
    tensor, source, weight = (made.tensor(op, at) for at in (2, 0, 1))
    if tensor.dtype == "int32" and tensor.value is not None:
        if source.scale.size != 1 or not weight.scale.size:
            raise made.refused(op, "has a bias of integers, and no scales for it")
        units = source.scale[0] * weight.scale
        return made.store(f"{tensor.name}.bias", tensor.value * units, np.float32)
    return made.store(f"{tensor.name}.bias", made.constant(op, 2), np.float32)
