"""Write a quantised network for LiteRT: int8 activations, int8 weights, biases of 32 bits.

Elements of unsigned activations are stored 128 less, as are their zero points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np

from tvm_mobilenet.bench.int8_types import signed
from tvm_mobilenet.bench.litert_files import FUSED, PRODUCTS, windows, written
from tvm_mobilenet.bench.tflite import Graph
from tvm_mobilenet.errors import PeerError
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.network import Network
from tvm_mobilenet.models.quantized.model import Dequantize, Quantize
from tvm_mobilenet.models.spec import INPUT, Add, Conv2d, Dense, GlobalAvgPool, Layer, Scale
from tvm_mobilenet.models.tensors import TensorType

_LARGEST_BIAS = 2**31 - 1

_UP_TO_6 = TensorType("int8", (6 / 255,), -128)
_SIXTH = 127, TensorType("int8", (1 / 6 / 127,), 0)
"""An element, and the type of which it is a sixth."""


@dataclass
class _Integers:
    """The graph so far.

    Attributes
    ----------
    rounded : mapping of str to TensorType
        What sums are here that leave as float32 in the network, by layer.
    elements : dict of str to int
        By value, the tensor that has its elements; ``graph.values`` has those of float32.
    """

    network: Network
    rounded: Mapping[str, TensorType]
    graph: Graph
    elements: dict[str, int] = field(default_factory=dict)

    def type_of(self, name: str) -> TensorType:
        """Return the type of a value's elements.

        Raises
        ------
        PeerError
            If it is float32.
        """
        found = self.rounded.get(name) or self.network.records[name].output
        if not found.quantized:
            raise PeerError(
                f"{name!r} is float32, and LiteRT computes in integers from integers only",
                "leave litert out of --against",
            )
        return signed(found)

    def operator(
        self, kind: str, layer: Layer, options: str = "", inputs: tuple[int, ...] = (), **more: Any
    ) -> int:
        """Add an operator whose output is a layer's value, from `inputs` or from the layer's."""
        read = inputs or [self.elements[name] for name in layer.inputs]
        of = self.type_of(layer.name)
        return self.graph.operator(kind, read, layer.name, layer.out_shape, options, of=of, **more)


def write_int8_tflite(network: Network, rounded: Mapping[str, TensorType], path: Path) -> None:
    """Write the file.

    Parameters
    ----------
    network : Network
        With records; its maps become NHWC.
    rounded : mapping of str to TensorType
        Types of sums that leave as float32: :func:`.int8_types.types_of_sums`.
    path : Path
        Where to write.

    Raises
    ------
    PeerError
        If a layer is of a kind that is not written for LiteRT, or a bias exceeds 32 bits.
    """
    model = network.model
    if INPUT in network.records:
        raise PeerError("the input is of integers, which is not written for LiteRT yet")
    made = _Integers(network, rounded, Graph(model.title, model.input_shape))
    for layer in model.layers:
        if isinstance(layer, Dequantize):
            _read_as_float(layer.inputs[0], layer.name, made)
        elif layer.name not in network.records:
            made.graph.values[layer.name] = written(layer, made.graph, network.weights)
        else:
            made.elements[layer.name] = _integers(layer, made)
            if layer.name in rounded:
                _read_as_float(layer.name, layer.name, made)
    path.write_bytes(made.graph.packed(model.outputs[0]))


def _read_as_float(source: str, target: str, made: _Integers) -> None:
    """Dequantise a value where layers of float32 or the output read it."""
    model = made.network.model
    readers = [layer for layer in model.layers if target in layer.inputs]
    if target in model.outputs or any(r.name not in made.network.records for r in readers):
        made.graph.values[target] = made.graph.operator(
            "DEQUANTIZE",
            [made.elements[source]],
            f"{target}.float",
            model.layer(source).out_shape,
            "DequantizeOptions",
        )


_ACTIVATIONS = ("none", "relu", "relu6", "hardsigmoid", "hardswish")


@singledispatch
def _integers(layer: Layer, _made: _Integers) -> int:
    """Add a layer that computes in integers; return the number of its output's tensor."""
    raise PeerError(
        f"{type(layer).__name__} {layer.name!r} in integers is not written for LiteRT yet",
        "leave litert out of --against",
    )


@_integers.register(Quantize)
def _quantize(layer: Quantize, made: _Integers) -> int:
    source = made.graph.values[layer.inputs[0]]
    return made.operator("QUANTIZE", layer, "QuantizeOptions", (source,))


@_integers.register(Conv2d)
def _conv2d(layer: Conv2d, made: _Integers) -> int:
    name = layer.inputs[0]
    read = windows(layer, made.graph, made.elements[name], made.type_of(name))
    return _product(layer, made, *read)


@_integers.register(Dense)
def _dense(layer: Dense, made: _Integers) -> int:
    return _product(layer, made, made.elements[layer.inputs[0]], "FULLY_CONNECTED", {})


def _product(
    layer: Weighted, made: _Integers, source: int, kind: str, fields: dict[str, Any]
) -> int:
    """Add a product with weights and its activation; return the number of the output's tensor."""
    options, axes = PRODUCTS[kind]
    name, shape, activation = layer.name, layer.out_shape, layer.activation
    record = made.network.records[name]
    before = None if record.before is None else signed(record.before)
    if activation not in _ACTIVATIONS:
        raise PeerError(
            f"{activation} of {name!r} in integers is not written for LiteRT yet",
            "leave litert out of --against",
        )
    if activation == "hardsigmoid":
        before = _UP_TO_6
    of = before or made.type_of(name)
    fields = {**fields, "fusedActivationFunction": FUSED.get(activation, "NONE")}
    inputs = [source, *_parameters(layer, made, axes)]
    sums = made.graph.operator(
        kind, inputs, f"{name}.sum" if before else name, shape, options, of=of, **fields
    )
    if activation == "hardsigmoid":
        element, sixth = _SIXTH
        scaled = (sixth.scale, 0)
        by = made.graph.constant(f"{name}.sixth", element, np.int8, scaled)
        return made.operator("MUL", layer, "MulOptions", (sums, by))
    if activation == "hardswish":
        return made.operator("HARD_SWISH", layer, "HardSwishOptions", (sums,))
    return sums


def _parameters(layer: Weighted, made: _Integers, axes: tuple[int, ...]) -> tuple[int, int]:
    """Add a layer's weight and bias; return the numbers of their tensors."""
    record, name = made.network.records[layer.name], layer.name
    assert record.weight is not None  # QuantizedModel holds every layer with weights to it
    if record.weight.dtype != "int8":
        raise PeerError(
            f"the weight of {name!r} is {record.weight.dtype}, which is not written for LiteRT yet",
            "leave litert out of --against",
        )
    weight = made.network.weights[f"{name}.weight"].transpose(axes)
    scales, axis = np.asarray(record.weight.scale, np.float32), axes.index(0)
    # LiteRT takes its units from the rounded scales.
    units = np.float32(made.type_of(layer.inputs[0]).scale[0]) * scales
    bias = made.network.weights[f"{name}.bias"].astype(np.float64)
    bias = np.rint((bias + 3 * (layer.activation == "hardsigmoid")) / units)
    if np.abs(bias).max() > _LARGEST_BIAS:
        raise PeerError(
            f"a bias of {name!r} exceeds 32 bits in units of its sums, which LiteRT needs",
            "leave litert out of --against",
        )
    return (
        made.graph.constant(f"{name}.weight", weight, np.int8, (scales.tolist(), 0), axis),
        made.graph.constant(f"{name}.bias", bias, np.int32, (units.tolist(), 0)),
    )


@_integers.register(GlobalAvgPool)
def _global_avg_pool(layer: GlobalAvgPool, made: _Integers) -> int:
    axes = made.graph.constant(f"{layer.name}.axes", [1, 2], np.int32)
    inputs = (made.elements[layer.inputs[0]], axes)
    return made.operator("MEAN", layer, "ReducerOptions", inputs, keepDims=layer.keep_map)


@_integers.register(Add)
def _add(layer: Add, made: _Integers) -> int:
    for name in layer.inputs:
        made.type_of(name)
    return made.operator("ADD", layer, "AddOptions")


@_integers.register(Scale)
def _scale(layer: Scale, made: _Integers) -> int:
    return made.operator("MUL", layer, "MulOptions")
