"""Layers of ours for which there is no kernel of ours, by TVM's operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax, te

from tvm_mobilenet.common.functions import clips, identifier
from tvm_mobilenet.compute.activations import activate
from tvm_mobilenet.emit.relax.foreign import part_of
from tvm_mobilenet.errors import InvalidModelError
from tvm_mobilenet.models.layer_norm import LayerNorm
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
from tvm_mobilenet.models.spread import inputs_first
from tvm_mobilenet.models.transposed import ConvTranspose2d
from tvm_mobilenet.network.fold import folded

Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Bind:
    """Binds a value to a variable of the layer, which it returns."""

    builder: Any
    part: str

    def __call__(self, value: Any) -> Any:
        """Bind a value."""
        return self.builder.emit(value, self.part)


def ours_by_tvm(builder: Any, layer: Layer, inputs: list[Any], weights: Weights) -> Any:
    """Return a layer's value, its last operator not yet bound.

    Parameters
    ----------
    builder : BlockBuilder
        In a dataflow block; what leads to the value is bound in it.
    inputs : list of Var
        NCHW or NC.
    weights : mapping of str to ndarray
        By full name.

    Raises
    ------
    InvalidModelError
        It is no such layer.
    """
    return _value(layer, weights, Bind(builder, part_of(symbol(layer.name))), *inputs)


@singledispatch
def _value(layer: Layer, _weights: Weights, _bind: Bind, *_inputs: Any) -> Any:
    raise InvalidModelError(f"the graph cannot build {type(layer).__name__} {layer.name!r}")


@_value.register(Conv2d)
def _conv2d(layer: Conv2d, weights: Weights, bind: Bind, x: Any) -> Any:
    affine = folded(layer, weights)
    value = relax.op.nn.conv2d(
        x,
        relax.const(affine.weight),
        strides=layer.strides,
        padding=layer.padding,
        groups=layer.groups,
        dilation=layer.dilations,
    )
    if layer.bias or layer.batch_norm is not None:
        bias = relax.const(affine.bias.reshape(1, -1, 1, 1))
        value = relax.op.add(bind(value), bias)
    return _activated(value, layer.activation, bind)


@_value.register(ConvTranspose2d)
def _conv_transpose(layer: ConvTranspose2d, weights: Weights, bind: Bind, x: Any) -> Any:
    affine = folded(layer, weights)
    value = relax.op.nn.conv2d_transpose(
        x,
        relax.const(inputs_first(layer, affine.weight)),
        strides=layer.strides,
        padding=layer.padding,
        output_padding=layer.output_padding,
        groups=layer.groups,
    )
    value = relax.op.add(bind(value), relax.const(affine.bias.reshape(1, -1, 1, 1)))
    return _activated(value, layer.activation, bind)


@_value.register(Dense)
def _dense(layer: Dense, weights: Weights, bind: Bind, x: Any) -> Any:
    affine = folded(layer, weights)
    product = relax.op.matmul(x, relax.const(np.ascontiguousarray(affine.weight.T)))
    value = relax.op.add(bind(product), relax.const(affine.bias))
    return _activated(value, layer.activation, bind)


@_value.register(Activate)
def _activate(layer: Activate, _weights: Weights, bind: Bind, x: Any) -> Any:
    return _activated(x, layer.activation, bind)


@_value.register(GlobalAvgPool)
def _global_avg_pool(layer: GlobalAvgPool, _weights: Weights, _bind: Bind, x: Any) -> Any:
    return relax.op.mean(x, axis=[2, 3], keepdims=layer.keep_map)


@_value.register(Softmax)
def _softmax(_layer: Softmax, _weights: Weights, _bind: Bind, x: Any) -> Any:
    return relax.op.nn.softmax(x, axis=-1)


@_value.register(LayerNorm)
def _layer_norm(layer: LayerNorm, weights: Weights, _bind: Bind, x: Any) -> Any:
    gamma, beta = (relax.const(weights[name]) for name in layer.parameters)
    return relax.op.nn.layer_norm(x, gamma, beta, axes=[1], epsilon=layer.epsilon)


@_value.register(Add)
def _add(_layer: Add, _weights: Weights, _bind: Bind, one: Any, other: Any) -> Any:
    return relax.op.add(one, other)


@_value.register(Scale)
def _scale(_layer: Scale, _weights: Weights, _bind: Bind, x: Any, factors: Any) -> Any:
    return relax.op.multiply(x, factors)


def _activated(value: Any, activation: Activation, bind: Bind) -> Any:
    if activation == "none":
        return value
    value = bind(value)
    if activation == "relu":
        return relax.op.nn.relu(value)
    limits = clips(activation)
    if limits is not None:
        return relax.op.clip(value, *limits)
    if activation not in ("hardsigmoid", "hardswish"):
        return bind.builder.call_te(
            _over_elements, value, activation, primfunc_name_hint=identifier(activation)
        )
    raised = bind(relax.op.add(value, relax.const(3.0, "float32")))
    clipped = bind(relax.op.clip(raised, 0.0, 6.0))
    gate = relax.op.divide(clipped, relax.const(6.0, "float32"))
    return gate if activation == "hardsigmoid" else relax.op.multiply(value, bind(gate))


def _over_elements(x: Any, activation: Activation) -> Any:
    """Define an activation of each element, as kernels of ours compute it."""
    return te.compute(x.shape, lambda *at: activate(x[at], activation), name="activated")
