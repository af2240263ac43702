"""Write a model for LiteRT: a TensorFlow Lite file.

Written as TensorFlow's converter would: channels last, batch norm and the 3 of a
hard sigmoid in the weights, activations inside of operators where the format has
them, TensorFlow's own padding by name. XNNPACK takes every operator that
MobileNets need.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.bench.tflite import Graph
from tvm_mobilenet.errors import PeerError
from tvm_mobilenet.models.layers import LpNormalization
from tvm_mobilenet.models.spec import (
    Activate,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Model,
    Scale,
    Softmax,
    same_padding,
)
from tvm_mobilenet.models.tensors import TensorType
from tvm_mobilenet.network.fold import folded

Weights = Mapping[str, NDArray[Any]]

FUSED = {"relu": "RELU", "relu6": "RELU6", "hardsigmoid": "RELU6"}
"""What a convolution, product or sum applies itself; of a hard sigmoid the clipping."""

OPERATORS = {
    "relu": "RELU",
    "relu6": "RELU6",
    "hardswish": "HARD_SWISH",
    "sigmoid": "LOGISTIC",
}


def write_tflite(model: Model, weights: Weights, path: Path) -> None:
    """Write the file.

    Parameters
    ----------
    model : Model
        Its maps become NHWC, input and output too.
    weights : mapping of str to ndarray
        As :mod:`tvm_mobilenet.models.weights` names and shapes them.
    path : Path
        Where to write.

    Raises
    ------
    PeerError
        If a layer is of a kind that is not written for LiteRT.
    """
    graph = Graph(model.title, model.input_shape)
    for layer in model.layers:
        graph.values[layer.name] = written(layer, graph, weights)
    path.write_bytes(graph.packed(model.outputs[0]))


@singledispatch
def written(layer: Layer, _graph: Graph, _weights: Weights) -> int:
    """Add a layer to the graph; return the number of its output's tensor."""
    raise PeerError(
        f"{type(layer).__name__} {layer.name!r} is not written for LiteRT yet",
        "leave litert out of --against",
    )


@written.register(Conv2d)
def _conv2d(layer: Conv2d, graph: Graph, weights: Weights) -> int:
    source, kind, fields = windows(layer, graph, graph.values[layer.inputs[0]])
    return _product(layer, graph, weights, kind, source, **fields)


def windows(
    layer: Conv2d, graph: Graph, source: int, of: TensorType | None = None
) -> tuple[int, str, dict[str, Any]]:
    """Return the tensor that a convolution reads, its operator and the fields of that.

    Parameters
    ----------
    source : int
        The layer's input; with borders that the format has no name for, another is read.
    of : TensorType, optional
        What the elements of the input are; float32 by default.
    """
    padding = "VALID"
    _, _, rows, columns = layer.in_shape
    if layer.padding == same_padding((rows, columns), layer.reach, layer.strides):
        padding = "SAME"
    elif any(layer.padding):
        source = _padded(layer, graph, source, of)
    fields = {"padding": padding, "strideH": layer.strides[0], "strideW": layer.strides[1]}
    if layer.dilations != (1, 1):
        fields["dilationHFactor"], fields["dilationWFactor"] = layer.dilations
    kind = "CONV_2D"
    if 1 < layer.groups == layer.in_channels:
        kind = "DEPTHWISE_CONV_2D"
        fields["depthMultiplier"] = layer.out_channels // layer.groups
    return source, kind, fields


def _padded(layer: Conv2d, graph: Graph, source: int, of: TensorType | None) -> int:
    """Add zeros around a map as an operator of its own; return the number of its tensor."""
    top, left, bottom, right = layer.padding
    batch, channels, rows, columns = layer.in_shape
    pads = graph.constant(
        f"{layer.name}.pads", [(0, 0), (top, bottom), (left, right), (0, 0)], np.int32
    )
    shape = (batch, channels, rows + top + bottom, columns + left + right)
    return graph.operator("PAD", [source, pads], f"{layer.name}.padded", shape, "PadOptions", of=of)


@written.register(Dense)
def _dense(layer: Dense, graph: Graph, weights: Weights) -> int:
    return _product(layer, graph, weights, "FULLY_CONNECTED", graph.values[layer.inputs[0]])


PRODUCTS = {
    "CONV_2D": ("Conv2DOptions", (0, 2, 3, 1)),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", (1, 2, 3, 0)),
    "FULLY_CONNECTED": ("FullyConnectedOptions", (0, 1)),
}
"""Operator → its options, and its order of the axes of weights that are OIHW or (O, I) here."""


def _product(
    layer: Conv2d | Dense, graph: Graph, weights: Weights, kind: str, source: int, **fields: Any
) -> int:
    """Add a product with weights and its activation; return the number of the output's tensor."""
    options, axes = PRODUCTS[kind]
    name, shape, activation = layer.name, layer.out_shape, layer.activation
    affine = folded(layer, weights)
    bias = affine.bias + np.float32(3) if activation == "hardsigmoid" else affine.bias
    inputs = [
        source,
        graph.constant(f"{name}.weight", affine.weight.transpose(axes)),
        graph.constant(f"{name}.bias", bias),
    ]
    fields["fusedActivationFunction"] = FUSED.get(activation, "NONE")
    output = graph.operator(kind, inputs, f"{name}.sum", shape, options, **fields)
    if activation == "hardsigmoid":
        return _sixth(layer, graph, output)
    if activation == "none" or activation in FUSED:
        return output
    return graph.operator(_operator_of(layer), [output], name, shape)


def _operator_of(layer: Conv2d | Dense | Activate) -> str:
    """Return the operator that an activation is by itself."""
    found = OPERATORS.get(layer.activation)
    if found is None:
        raise PeerError(
            f"{layer.activation} of {layer.name!r} is not written for LiteRT yet",
            "leave litert out of --against",
        )
    return found


def _sixth(layer: Layer, graph: Graph, source: int) -> int:
    """Divide by 6; return the number of the quotient's tensor."""
    inputs = [source, graph.constant(f"{layer.name}.sixth", 1 / 6)]
    return graph.operator("MUL", inputs, layer.name, layer.out_shape, "MulOptions")


@written.register(Activate)
def _activate(layer: Activate, graph: Graph, _weights: Weights) -> int:
    name, shape = layer.name, layer.out_shape
    inputs = [graph.values[layer.inputs[0]]]
    if layer.activation == "hardsigmoid":
        inputs.append(graph.constant(f"{name}.three", 3))
        fused: dict[str, Any] = {"fusedActivationFunction": "RELU6"}
        added = graph.operator("ADD", inputs, f"{name}.sum", shape, "AddOptions", **fused)
        return _sixth(layer, graph, added)
    return graph.operator(_operator_of(layer), inputs, name, shape)


@written.register(GlobalAvgPool)
def _global_avg_pool(layer: GlobalAvgPool, graph: Graph, _weights: Weights) -> int:
    inputs = [graph.values[layer.inputs[0]], graph.constant(f"{layer.name}.axes", [1, 2], np.int32)]
    keep: dict[str, Any] = {"keepDims": layer.keep_map}
    return graph.operator("MEAN", inputs, layer.name, layer.out_shape, "ReducerOptions", **keep)


@written.register(Add)
@written.register(Scale)
@written.register(Softmax)
@written.register(LpNormalization)
def _plain(layer: Layer, graph: Graph, _weights: Weights) -> int:
    kind, options, fields = _PLAIN[type(layer)]
    inputs = [graph.values[name] for name in layer.inputs]
    return graph.operator(kind, inputs, layer.name, layer.out_shape, options, **fields)


_PLAIN: dict[type[Layer], tuple[str, str, dict[str, Any]]] = {
    Add: ("ADD", "AddOptions", {}),
    Scale: ("MUL", "MulOptions", {}),
    Softmax: ("SOFTMAX", "SoftmaxOptions", {"beta": 1.0}),
    LpNormalization: ("L2_NORMALIZATION", "L2NormOptions", {}),
}
"""Layers that are an operator without constants: its name, its options and what they say."""
