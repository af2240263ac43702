"""Layers of ours for which there is no kernel of ours, by TVM's operators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_mobilenet.emit.relax.foreign import part_of
from tvm_mobilenet.errors import InvalidModelError
from tvm_mobilenet.models.spec import (
    Activate,
    Activation,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Scale,
    Softmax,
    symbol,
)
from tvm_mobilenet.network.fold import folded


def ours_by_tvm(  # noqa: PLR0911  one for each kind of layer
    builder: Any, layer: Layer, inputs: list[Any], weights: Mapping[str, NDArray[np.float32]]
) -> Any:
    """Return a layer's value, its last operator not yet bound.

    Parameters
    ----------
    builder : BlockBuilder
        In a dataflow block; what leads to the value is bound in it.
    layer : Layer
    inputs : list of Var
        NCHW or NC.
    weights : mapping of str to ndarray
        By full name.

    Raises
    ------
    InvalidModelError
        It is no such layer.
    """
    part = part_of(symbol(layer.name))
    if isinstance(layer, Conv2d):
        affine = folded(layer, weights)
        value = relax.op.nn.conv2d(
            inputs[0],
            relax.const(affine.weight),
            strides=layer.strides,
            padding=layer.padding,
            groups=layer.groups,
        )
        if layer.bias or layer.batch_norm is not None:
            bias = relax.const(affine.bias.reshape(1, -1, 1, 1))
            value = relax.op.add(builder.emit(value, part), bias)
        return _activated(builder, value, layer.activation, part)
    if isinstance(layer, Activate):
        return _activated(builder, inputs[0], layer.activation, part)
    if isinstance(layer, Dense):
        affine = folded(layer, weights)
        product = relax.op.matmul(inputs[0], relax.const(np.ascontiguousarray(affine.weight.T)))
        value = relax.op.add(builder.emit(product, part), relax.const(affine.bias))
        return _activated(builder, value, layer.activation, part)
    if isinstance(layer, GlobalAvgPool):
        return relax.op.mean(inputs[0], axis=[2, 3], keepdims=layer.keep_map)
    if isinstance(layer, Softmax):
        return relax.op.nn.softmax(inputs[0], axis=-1)
    if isinstance(layer, Add):
        return relax.op.add(*inputs)
    if isinstance(layer, Scale):
        return relax.op.multiply(*inputs)
    raise InvalidModelError(f"the graph cannot build {type(layer).__name__} {layer.name!r}")


def _activated(builder: Any, value: Any, activation: Activation, part: str) -> Any:
    if activation == "none":
        return value
    value = builder.emit(value, part)
    if activation == "relu":
        return relax.op.nn.relu(value)
    if activation == "relu6":
        return relax.op.clip(value, 0.0, 6.0)
    raised = builder.emit(relax.op.add(value, relax.const(3.0, "float32")), part)
    clipped = builder.emit(relax.op.clip(raised, 0.0, 6.0), part)
    gate = relax.op.divide(clipped, relax.const(6.0, "float32"))
    return (
        gate if activation == "hardsigmoid" else relax.op.multiply(value, builder.emit(gate, part))
    )
