"""Layers that no kernel of ours computes, by Relay's operators."""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relay

from tvm_mobilenet.emit.relay.activations import activated
from tvm_mobilenet.emit.relay.axes import axes_as_attributes
from tvm_mobilenet.emit.relay.naming import marked
from tvm_mobilenet.errors import InvalidModelError, UnsupportedOperatorError, reason
from tvm_mobilenet.models.importer.expand import expand
from tvm_mobilenet.models.layer_norm import LayerNorm
from tvm_mobilenet.models.spec import (
    Activate,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Operator,
    Scale,
    Softmax,
)
from tvm_mobilenet.models.spread import inputs_first
from tvm_mobilenet.models.transposed import ConvTranspose2d
from tvm_mobilenet.network.fold import folded

Weights = Mapping[str, NDArray[np.float32]]


@singledispatch
def by_relay(layer: Layer, inputs: list[Any], weights: Weights) -> Any:
    """Return a layer's value by Relay's own operators.

    Parameters
    ----------
    inputs : list of relay.Expr
        NCHW or NC.
    weights : mapping of str to ndarray
        By full name.

    Raises
    ------
    InvalidModelError
        A layer of a kind that is not known here.
    UnsupportedOperatorError
        An operator that Relay's importer does not know.
    """
    raise InvalidModelError(f"the graph cannot build {type(layer).__name__} {layer.name!r}")


@by_relay.register(Conv2d)
def _conv2d(layer: Conv2d, inputs: list[Any], weights: Weights) -> Any:
    affine = folded(layer, weights)
    value = relay.nn.conv2d(
        inputs[0],
        relay.const(affine.weight),
        strides=layer.strides,
        padding=layer.padding,
        channels=layer.out_channels,
        kernel_size=layer.kernel,
        groups=layer.groups,
        dilation=layer.dilations,
    )
    return _biased(value, layer, affine.bias)


@by_relay.register(ConvTranspose2d)
def _conv_transpose(layer: ConvTranspose2d, inputs: list[Any], weights: Weights) -> Any:
    affine = folded(layer, weights)
    value = relay.nn.conv2d_transpose(
        inputs[0],
        relay.const(inputs_first(layer, affine.weight)),
        strides=layer.strides,
        padding=layer.padding,
        output_padding=layer.output_padding,
        channels=layer.out_channels,
        kernel_size=layer.kernel,
        groups=layer.groups,
    )
    return _biased(value, layer, affine.bias)


def _biased(product: Any, layer: Conv2d | ConvTranspose2d, bias: NDArray[np.float32]) -> Any:
    """Return a convolution's value.

    The product has the layer's name too: where Relay puts maps into blocks of its own, it makes
    another call of the one that adds the bias, without a name. Of ``bias_add`` it always does.
    """
    value = relay.add(marked(product, layer.name), relay.const(bias.reshape(-1, 1, 1)))
    return activated(value, layer.activation)


@by_relay.register(Dense)
def _dense(layer: Dense, inputs: list[Any], weights: Weights) -> Any:
    affine = folded(layer, weights)
    value = relay.nn.dense(inputs[0], relay.const(affine.weight))
    value = relay.nn.bias_add(value, relay.const(affine.bias), axis=1)
    return activated(value, layer.activation)


@by_relay.register(GlobalAvgPool)
def _global_avg_pool(layer: GlobalAvgPool, inputs: list[Any], _weights: Weights) -> Any:
    return relay.mean(inputs[0], axis=[2, 3], keepdims=layer.keep_map)


@by_relay.register(Activate)
def _activate(layer: Activate, inputs: list[Any], _weights: Weights) -> Any:
    return activated(inputs[0], layer.activation)


@by_relay.register(Add)
def _add(_layer: Add, inputs: list[Any], _weights: Weights) -> Any:
    return relay.add(*inputs)


@by_relay.register(Scale)
def _scale(_layer: Scale, inputs: list[Any], _weights: Weights) -> Any:
    return relay.multiply(*inputs)


@by_relay.register(Softmax)
def _softmax(_layer: Softmax, inputs: list[Any], _weights: Weights) -> Any:
    return relay.nn.softmax(inputs[0], axis=-1)


@by_relay.register(LayerNorm)
def _layer_norm(layer: LayerNorm, inputs: list[Any], weights: Weights) -> Any:
    gamma, beta = (relay.const(weights[name]) for name in layer.parameters)
    return relay.nn.layer_norm(inputs[0], gamma, beta, axis=1, epsilon=layer.epsilon)


@by_relay.register(Operator)
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
        raise _unsupported(layer, reason(error)) from error
    shape = getattr(kind, "shape", ())
    if not all(isinstance(size, tvm.tir.IntImm) for size in shape) or (
        tuple(map(int, shape)) != layer.out_shape
    ):
        raise _unsupported(layer, f"TVM gives it the type {kind}, ONNX {layer.out_shape}")
    kinds: set[type] = set()
    relay.analysis.post_order_visit(func.body, lambda expr: kinds.add(type(expr)))
    if flow := kinds & {relay.If, relay.Let, relay.Function, relay.Match}:
        names = ", ".join(sorted(each.__name__ for each in flow))
        raise _unsupported(layer, f"it decides when it runs what to compute ({names})")
    body = _Unmarked().visit(func.body)
    return relay.bind(body, dict(zip(func.params, inputs, strict=True)))


class _Unmarked(relay.ExprMutator):  # type: ignore[misc]
    """Drops the spans of Relay's importer: a span names a layer of ours."""

    def visit_call(self, call: Any) -> Any:
        """Rebuild one call."""
        arguments = [self.visit(argument) for argument in call.args]
        return relay.Call(self.visit(call.op), arguments, call.attrs, call.type_args)


def _unsupported(layer: Operator, why: str) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        f"Relay cannot compile the operator {layer.operator} of {layer.name!r}: {why}",
        "compile it with the main stack, or cut the model before it",
    )
