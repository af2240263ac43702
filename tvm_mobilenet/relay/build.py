"""A model specification and its weights, as a plain Relay function in NCHW."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relay

from tvm_mobilenet.errors import InvalidModelError, UnsupportedOperatorError
from tvm_mobilenet.models.importer.expand import expand
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
)
from tvm_mobilenet.relay.axes import axes_as_attributes

Weights = Mapping[str, NDArray[np.float32]]

ENTRY_INPUT = "x"
"""Name of the function's one parameter that is no weight."""


@dataclass(frozen=True, slots=True)
class Built:
    """A network in Relay.

    Attributes
    ----------
    func : relay.Function
        From one map, NCHW, to an output or a tuple of several; weights are constants.
    names : dict of relay.Expr to str
        The layer that an expression is the value of.
    """

    func: Any
    names: dict[Any, str]


def build(model: Model, weights: Weights) -> Built:
    """Build the network as its definition reads: batch norm unfolded, nothing fused.

    Parameters
    ----------
    model : Model
    weights : mapping of str to ndarray
        Every parameter of the model by its full name.

    Raises
    ------
    InvalidModelError
        A layer of a kind that the graph does not know.
    UnsupportedOperatorError
        An operator that Relay's importer does not know.
    """
    x = relay.var(ENTRY_INPUT, shape=model.input_shape, dtype=model.input_dtype)
    values: dict[str, Any] = {INPUT: x}
    for layer in model.layers:
        values[layer.name] = _value(layer, [values[name] for name in layer.inputs], weights)
    outputs = [values[name] for name in model.outputs]
    body = outputs[0] if len(outputs) == 1 else relay.Tuple(outputs)
    return Built(
        relay.Function([x], body),
        {value: name for name, value in values.items() if name != INPUT},
    )


def _value(layer: Layer, inputs: list[Any], weights: Weights) -> Any:  # noqa: PLR0911
    def constant(name: str) -> Any:
        return relay.const(weights[f"{layer.name}.{name}"], "float32")

    if isinstance(layer, Conv2d):
        return _convolution(layer, inputs[0], constant)
    if isinstance(layer, GlobalAvgPool):
        return relay.mean(inputs[0], axis=[2, 3], keepdims=layer.keep_map)
    if isinstance(layer, Dense):
        value = relay.nn.dense(inputs[0], constant("weight"))
        if layer.bias:
            value = relay.nn.bias_add(value, constant("bias"), axis=1)
        return _activated(value, layer.activation)
    if isinstance(layer, Activate):
        return _activated(inputs[0], layer.activation)
    if isinstance(layer, Add):
        return relay.add(*inputs)
    if isinstance(layer, Scale):
        return relay.multiply(*inputs)
    if isinstance(layer, Softmax):
        return relay.nn.softmax(inputs[0], axis=-1)
    if isinstance(layer, Operator):
        return imported(layer, inputs, weights)
    raise InvalidModelError(f"the graph cannot build {type(layer).__name__} {layer.name!r}")


def _convolution(layer: Conv2d, data: Any, constant: Any) -> Any:
    value = relay.nn.conv2d(
        data,
        constant("weight"),
        strides=layer.strides,
        padding=layer.padding,
        channels=layer.out_channels,
        kernel_size=layer.kernel,
        groups=layer.groups,
    )
    if layer.bias:
        value = relay.nn.bias_add(value, constant("bias"), axis=1)
    if layer.batch_norm is not None:
        statistics = [constant(f"bn.{name}") for name in ("gamma", "beta", "mean", "variance")]
        value = relay.nn.batch_norm(value, *statistics, axis=1, epsilon=layer.batch_norm)[0]
    return _activated(value, layer.activation)


def _activated(value: Any, activation: Activation) -> Any:
    if activation == "none":
        return value
    if activation == "relu":
        return relay.nn.relu(value)
    if activation == "relu6":
        return relay.clip(value, 0.0, 6.0)
    raised = relay.add(value, relay.const(3.0, "float32"))
    gate = relay.divide(relay.clip(raised, 0.0, 6.0), relay.const(6.0, "float32"))
    return gate if activation == "hardsigmoid" else relay.multiply(value, gate)


def imported(layer: Operator, inputs: list[Any], weights: Weights) -> Any:
    """Return what Relay's importer makes of an ONNX node, on these inputs."""
    import tvm

    try:
        model = axes_as_attributes(expand(layer.to_onnx(weights)))
        mod, _ = relay.frontend.from_onnx(model, freeze_params=True)
        mod = relay.transform.InferType()(mod)
        func = mod["main"]
        kind = func.ret_type
    except UnsupportedOperatorError:
        raise
    # Its converters raise whatever their arithmetic does; all of it means the same.
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise _unsupported(
            layer, f"{type(error).__name__}: {lines[-1] if lines else 'no reason given'}"
        ) from error
    shape = getattr(kind, "shape", ())
    if not all(isinstance(size, tvm.tir.IntImm) for size in shape) or (
        tuple(map(int, shape)) != layer.out_shape
    ):
        raise _unsupported(layer, f"TVM gives it the type {kind}, ONNX {layer.out_shape}")
    return relay.bind(func.body, dict(zip(func.params, inputs, strict=True)))


def _unsupported(layer: Operator, why: str) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        f"Relay cannot compile the operator {layer.operator} of {layer.name!r}: {why}",
        "compile it with the main stack, or cut the model before it",
    )
