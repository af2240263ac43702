"""Phase 0: a model specification and its weights, as a plain Relax module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_mobilenet.errors import InvalidModelError
from tvm_mobilenet.graph.foreign import import_operator, inline, part_of
from tvm_mobilenet.models.spec import (
    INPUT,
    Activate,
    Activation,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Model,
    Operator,
    Scale,
    Softmax,
    symbol,
)

ENTRY = "main"
"""Name of the one function of the module."""


def build(model: Model, weights: Mapping[str, NDArray[np.float32]]) -> Any:
    """Build the network as its definition reads: NCHW, batch norm unfolded, nothing fused.

    Parameters
    ----------
    model : Model
    weights : mapping of str to ndarray
        Every parameter of the model by its full name.

    Returns
    -------
    IRModule
        ``main(x: NCHW) -> output``, or a tuple of several; the last operator of each
        layer is bound to a variable with the layer's ``symbol``.

    Raises
    ------
    InvalidModelError
        A layer of a kind that the graph does not know.
    UnsupportedOperatorError
        An operator that TVM does not know.
    """
    # Before there is a builder: it complains when an error leaves it half done.
    foreign = {
        layer.name: import_operator(layer, weights)
        for layer in model.layers
        if isinstance(layer, Operator)
    }
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(model.input_shape, model.input_dtype))
    values: dict[str, Any] = {INPUT: x}
    with builder.function(ENTRY, [x]):
        with builder.dataflow():
            for layer in model.layers:
                inputs = [values[name] for name in layer.inputs]
                if layer.name in foreign:
                    name = symbol(layer.name)
                    value = inline(builder, foreign[layer.name], inputs, name)
                    values[layer.name] = builder.emit(value, name)
                else:
                    values[layer.name] = _emit(builder, layer, inputs, weights)
            outputs = [values[name] for name in model.outputs]
            output = builder.emit_output(outputs[0] if len(outputs) == 1 else relax.Tuple(outputs))
        builder.emit_func_output(output)
    return builder.get()


def _emit(
    builder: Any, layer: Layer, inputs: list[Any], weights: Mapping[str, NDArray[np.float32]]
) -> Any:
    def constant(name: str) -> Any:
        return relax.const(weights[f"{layer.name}.{name}"], "float32")

    part = part_of(symbol(layer.name))
    if isinstance(layer, Conv2d):
        return _emit_conv(builder, layer, inputs[0], weights)
    if isinstance(layer, GlobalAvgPool):
        value = relax.op.mean(inputs[0], axis=[2, 3], keepdims=layer.keep_map)
    elif isinstance(layer, Dense):
        transposed = np.ascontiguousarray(weights[f"{layer.name}.weight"].T)
        value = relax.op.matmul(inputs[0], relax.const(transposed, "float32"))
        if layer.bias:
            value = relax.op.add(builder.emit(value, part), constant("bias"))
        value = _activated(builder, value, layer.activation, part)
    elif isinstance(layer, Activate):
        value = _activated(builder, inputs[0], layer.activation, part)
    elif isinstance(layer, Add):
        value = relax.op.add(*inputs)
    elif isinstance(layer, Scale):
        value = relax.op.multiply(*inputs)
    elif isinstance(layer, Softmax):
        value = relax.op.nn.softmax(inputs[0], axis=-1)
    else:
        raise InvalidModelError(f"the graph cannot build {type(layer).__name__} {layer.name!r}")
    return builder.emit(value, symbol(layer.name))


def _emit_conv(
    builder: Any, layer: Conv2d, data: Any, weights: Mapping[str, NDArray[np.float32]]
) -> Any:
    def constant(name: str) -> Any:
        return relax.const(weights[f"{layer.name}.{name}"], "float32")

    part = part_of(symbol(layer.name))
    value = relax.op.nn.conv2d(
        data,
        constant("weight"),
        strides=layer.strides,
        padding=layer.padding,
        groups=layer.groups,
    )
    if layer.bias:
        per_channel = weights[f"{layer.name}.bias"].reshape(1, -1, 1, 1)
        value = relax.op.add(builder.emit(value, part), relax.const(per_channel, "float32"))
    if layer.batch_norm is not None:
        statistics = [constant(f"bn.{name}") for name in ("gamma", "beta", "mean", "variance")]
        normed = relax.op.nn.batch_norm(
            builder.emit(value, part), *statistics, axis=1, epsilon=layer.batch_norm, training=False
        )
        value = builder.emit(normed, part)[0]
    value = _activated(builder, value, layer.activation, part)
    return builder.emit(value, symbol(layer.name))


def _activated(builder: Any, value: Any, activation: Activation, part: str) -> Any:
    """Return an activation of a value, its last operator not yet bound, the others as `part`."""
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
