"""Our models written in Relay, as anybody would: NCHW, batch norms unfolded, nothing fused."""

from __future__ import annotations

from typing import Any

from tvm import relay

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

nn = relay.nn


def written(model: Model) -> Any:
    """Return the function of an image and of the model's parameters, by their names."""
    x = relay.var("image", shape=model.input_shape, dtype=model.input_dtype)
    parameters = {name: relay.var(name, shape=shape) for name, shape in model.parameters.items()}
    values = {INPUT: x}
    for layer in model.layers:
        inputs = [values[name] for name in layer.inputs]
        values[layer.name] = _value(layer, inputs, parameters)
    return relay.Function([x, *parameters.values()], values[model.outputs[0]])


def _value(layer: Layer, inputs: list[Any], parameters: dict[str, Any]) -> Any:
    def parameter(name: str) -> Any:
        return parameters[f"{layer.name}.{name}"]

    if isinstance(layer, Conv2d):
        value = nn.conv2d(
            *(inputs[0], parameter("weight"), layer.strides, layer.padding),
            groups=layer.groups, channels=layer.out_channels, kernel_size=layer.kernel,
        )  # fmt: skip
        value = nn.bias_add(value, parameter("bias")) if layer.bias else value
        if layer.batch_norm is not None:
            parts = [parameter(f"bn.{name}") for name in ("gamma", "beta", "mean", "variance")]
            value = nn.batch_norm(value, *parts, epsilon=layer.batch_norm)[0]
        return activated(value, layer.activation)
    if isinstance(layer, Dense):
        value = nn.dense(inputs[0], parameter("weight"))
        value = nn.bias_add(value, parameter("bias")) if layer.bias else value
        return activated(value, layer.activation)
    if isinstance(layer, GlobalAvgPool):
        pooled = nn.global_avg_pool2d(inputs[0])
        return pooled if layer.keep_map else nn.batch_flatten(pooled)
    if isinstance(layer, Activate):
        return activated(inputs[0], layer.activation)
    if isinstance(layer, Softmax):
        return nn.softmax(inputs[0])
    return {Add: relay.add, Scale: relay.multiply}[type(layer)](*inputs)


def activated(value: Any, activation: str) -> Any:
    if activation == "none":
        return value
    if activation == "relu":
        return nn.relu(value)
    if activation == "relu6":
        return relay.clip(value, 0.0, 6.0)
    gate = relay.clip(relay.add(value, relay.const(3.0)), 0.0, 6.0)
    gate = relay.multiply(gate, relay.const(1 / 6))
    return gate if activation == "hardsigmoid" else relay.multiply(value, gate)
