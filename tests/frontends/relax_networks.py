"""Our models written in Relax, as anybody would: NCHW, batch norms unfolded, nothing fused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_mobilenet.models.spec import (
    INPUT,
    Activate,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Model,
    Scale,
    Softmax,
)

Weights = Mapping[str, NDArray[np.float32]]
op = relax.op


def written(model: Model, weights: Weights) -> Any:
    """Return the module ``main(image)``; what is a layer's value has its name."""
    builder = relax.BlockBuilder()
    x = relax.Var("image", relax.TensorType(model.input_shape, model.input_dtype))
    values = {INPUT: x}
    with builder.function("main", [x]):
        with builder.dataflow():
            for layer in model.layers:
                found = _value(layer, [values[name] for name in layer.inputs], weights)
                values[layer.name] = builder.emit(found, layer.name.replace(".", "_"))
            output = builder.emit_output(values[model.outputs[0]])
        builder.emit_func_output(output)
    return builder.get()


def _value(layer: Layer, inputs: list[Any], weights: Weights) -> Any:
    def constant(name: str, *shape: int) -> Any:
        value = weights[f"{layer.name}.{name}"]
        return relax.const(value.reshape(shape) if shape else value)

    if isinstance(layer, Conv2d):
        value = op.nn.conv2d(
            *(inputs[0], constant("weight"), layer.strides, layer.padding),
            groups=layer.groups,
        )
        if layer.bias:
            value = op.add(value, constant("bias", 1, -1, 1, 1))
        if layer.batch_norm is not None:
            parts = [constant(f"bn.{name}") for name in ("gamma", "beta", "mean", "variance")]
            value = op.nn.batch_norm(value, *parts, 1, layer.batch_norm, training=False)[0]
        return activated(value, layer.activation)
    if isinstance(layer, Dense):
        value = op.matmul(inputs[0], op.permute_dims(constant("weight")))
        value = op.add(value, constant("bias")) if layer.bias else value
        return activated(value, layer.activation)
    if isinstance(layer, GlobalAvgPool):
        return op.mean(inputs[0], axis=[2, 3], keepdims=layer.keep_map)
    if isinstance(layer, Activate):
        return activated(inputs[0], layer.activation)
    if isinstance(layer, Softmax):
        return op.nn.softmax(inputs[0], axis=-1)
    return {Add: op.add, Scale: op.multiply}[type(layer)](*inputs)


def activated(value: Any, activation: str) -> Any:
    if activation == "none":
        return value
    if activation == "relu":
        return op.nn.relu(value)
    if activation == "relu6":
        return op.clip(value, 0.0, 6.0)
    gate = op.clip(op.add(value, relax.const(3.0)), 0.0, 6.0)
    gate = op.divide(gate, relax.const(6.0))
    return gate if activation == "hardsigmoid" else op.multiply(value, gate)
