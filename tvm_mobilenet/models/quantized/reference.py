"""The integer reference: runs a quantised network in NumPy, bit for bit as kernels must.

Independent of TVM and of every transformation of the compiler. Sums of products are computed in
float32 where none can reach 2**24, else in float64: both are exact in any order. What computes in
float32 is taken from the float64 reference and rounded once: no bits are promised there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tvm_mobilenet.common.bfloat16 import rounded
from tvm_mobilenet.common.functions import clips
from tvm_mobilenet.errors import InputError
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.convolution import convolve
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.maps import Concat, Pool2d
from tvm_mobilenet.models.pixels import Pixels
from tvm_mobilenet.models.quantized import requantization
from tvm_mobilenet.models.quantized.arithmetic import (
    Array,
    centered,
    dequantized,
    fused_multiply_add,
    saturated,
)
from tvm_mobilenet.models.quantized.model import Dequantize, Quantize, QuantizedModel, limits_of
from tvm_mobilenet.models.quantized.tables import activation_table, exponentials
from tvm_mobilenet.models.spec import (
    INPUT,
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
from tvm_mobilenet.models.tensors import TensorType

Weights = Mapping[str, NDArray[Any]]

_EXACT_IN_FLOAT32 = 2**24
"""Integers below this, and sums of them that stay below, are exact."""

_LARGEST_DISTANCE = 255
"""Between an element and its zero point, and beyond any element."""


def run(
    network: QuantizedModel,
    weights: Weights,
    x: ArrayLike,
    kept_as: Literal["float32", "bfloat16"] = "float32",
) -> dict[str, Array]:
    """Run a whole network.

    Parameters
    ----------
    weights : mapping of str to ndarray
        Every parameter by its full name: weights of integer layers as their records say, all
        others, biases among them, as float32.
    x : array_like
        Input, NCHW, of the network's shape; of the type of its record, or else numbers.
    kept_as : {"float32", "bfloat16"}
        What layers without a record keep weights and maps as, each rounded once.

    Returns
    -------
    dict of str to ndarray
        Value of every layer: int8, uint8 or float32.

    Raises
    ------
    InputError
        If `x` has another shape or type.
    QuantizationError
        If some sum could exceed 32 bits.
    """
    given = np.asarray(x)
    of_numbers = INPUT not in network.records
    values = {INPUT: given.astype(network.model.input_dtype) if of_numbers else given}
    halved = kept_as == "bfloat16"
    if halved:
        weights = _rounded_weights(network, weights)
    for layer in network.model.layers:
        inputs = (values[name] for name in layer.inputs)
        value = run_layer(network, weights, layer, *inputs)
        values[layer.name] = rounded(value) if halved and _in_a_map(network, layer) else value
    del values[INPUT]
    return values


def _rounded_weights(network: QuantizedModel, weights: Weights) -> dict[str, Array]:
    """Return weights, those of layers without a record as bfloat16 keeps them."""
    kept = (layer for layer in network.model.layers if layer.name not in network.records)
    names = {name for layer in kept for name in layer.parameters}
    return {
        name: rounded(array) if name in names and array.ndim > 1 else array
        for name, array in weights.items()
    }


def _in_a_map(network: QuantizedModel, layer: Layer) -> bool:
    """Whether a layer without a record leaves numbers in a map, and no answer of the network."""
    answers = isinstance(layer, Dense | Operator | Softmax) or layer.name in network.model.outputs
    return layer.name not in network.records and not answers


def run_layer(network: QuantizedModel, weights: Weights, layer: Layer, *inputs: Array) -> Array:
    """Run one layer of a network, its activation included: see :func:`run`."""
    dtypes = [network.type_of(name).dtype for name in layer.inputs]
    if isinstance(layer, Operator):
        *dtypes, out = layer.dtypes  # type: ignore[assignment]
    else:
        out = "float32"
    for name, shape, dtype, x in zip(layer.inputs, layer.in_shapes, dtypes, inputs, strict=True):
        if x.shape != shape or x.dtype != dtype:
            raise InputError(
                f"layer {layer.name!r} reads {name!r} of shape {x.shape} and type {x.dtype}",
                f"give shape {shape} and type {dtype}",
            )
    if layer.name in network.records:
        return _computed(layer, network, weights, *inputs)
    if isinstance(layer, Dequantize):
        return dequantized(inputs[0], network.type_of(layer.inputs[0]))
    return reference.run_layer(layer, weights, *inputs).astype(out)


@singledispatch
def _computed(layer: Layer, network: QuantizedModel, weights: Weights, *inputs: Array) -> Array:
    """Compute a layer that has a record; QuantizedModel lets no other kind have one."""
    raise NotImplementedError(type(layer).__name__)


@_computed.register(Conv2d)
def _conv2d(layer: Conv2d, network: QuantizedModel, weights: Weights, x: Array) -> Array:
    """Sum up with borders of the zero point: elements less that, bordered by 0, and it again."""
    weight = _weight(layer, network, weights)
    zero = network.type_of(layer.inputs[0]).zero_point or 0
    sums = convolve(layer, weight, np.subtract(x, zero, dtype=weight.dtype))
    sums += zero * weight.sum(axis=(1, 2, 3))[:, None, None]
    return _finished(layer, network, weights, sums)


@_computed.register(Pixels)
def _pixels(layer: Pixels, network: QuantizedModel, _weights: Weights, x: Array) -> Array:
    to = network.type_of(layer.name)
    return np.asarray((layer.framed(x).astype(np.int32) + (to.zero_point or 0)).astype(to.dtype))


@_computed.register(Dense)
def _dense(layer: Dense, network: QuantizedModel, weights: Weights, x: Array) -> Array:
    weight = _weight(layer, network, weights)
    return _finished(layer, network, weights, x.astype(weight.dtype) @ weight.T)


def _weight(layer: Weighted, network: QuantizedModel, weights: Weights) -> Array:
    of = network.records[layer.name].weight
    assert of is not None  # QuantizedModel holds every layer with weights to it
    return _for_sums(centered(weights[f"{layer.name}.weight"], of))


def _for_sums(weight: Array) -> Array:
    """Return a weight (O, ...) in a type in which its sums of any elements are exact."""
    magnitudes = np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(axis=1)
    small = int(magnitudes.max()) * _LARGEST_DISTANCE < _EXACT_IN_FLOAT32
    return weight.astype(np.float32 if small else np.float64)


def _finished(layer: Weighted, network: QuantizedModel, weights: Weights, sums: Array) -> Array:
    """Return the value for the sums of a layer, (N, O, ...)."""
    record, to = network.records[layer.name], requantization.of_sums(network, layer, weights)
    along = (-1, *(1,) * (sums.ndim - 2))
    values = fused_multiply_add(sums, to.scale.reshape(along), to.shift.reshape(along))
    if not record.output.quantized:
        low, high = clips(layer.activation) or (-np.inf, np.inf)
        return np.asarray(np.clip(values, np.float32(low), np.float32(high)))
    if record.before is None:
        return saturated(values, record.output, limits_of(layer.activation, record.output))
    table = activation_table(layer.activation, record.before, record.output)
    return _looked_up(table, saturated(values, record.before))


def _looked_up(table: Array, x: Array) -> Array:
    least = np.iinfo(x.dtype).min
    return np.asarray(table[x.astype(np.int64) - least])


@_computed.register(Activate)
def _activate(layer: Activate, network: QuantizedModel, _weights: Weights, x: Array) -> Array:
    source, to = network.type_of(layer.inputs[0]), network.type_of(layer.name)
    return _looked_up(activation_table(layer.activation, source, to), x)


@_computed.register(GlobalAvgPool)
def _pool(layer: GlobalAvgPool, network: QuantizedModel, _weights: Weights, x: Array) -> Array:
    to = requantization.of_mean(network, layer)
    sums = x.astype(np.int64).sum(axis=(2, 3), keepdims=layer.keep_map)
    return saturated(fused_multiply_add(sums, to.scale, to.shift), network.type_of(layer.name))


@_computed.register(Pool2d)
def _windows(layer: Pool2d, network: QuantizedModel, _weights: Weights, x: Array) -> Array:
    source, to = network.type_of(layer.inputs[0]), network.type_of(layer.name)
    rows, columns = layer.seen(0), layer.seen(1)
    centered = x.astype(np.int64) - (source.zero_point or 0)
    found = np.empty(layer.out_shape, np.int64)
    for i, down in enumerate(rows):
        for j, along in enumerate(columns):
            window = centered[:, :, down.start : down.stop, along.start : along.stop]
            whole = window.sum if layer.kind == "mean" else window.max
            found[:, :, i, j] = whole(axis=(2, 3))
    if layer.kind == "mean":
        means = requantization.of_means(network, layer)
        return saturated(fused_multiply_add(found, means.scale, means.shift), to)
    return _moved((found + (source.zero_point or 0)).astype(x.dtype), source, to)


@_computed.register(Concat)
def _concat(layer: Concat, network: QuantizedModel, _weights: Weights, *xs: Array) -> Array:
    to = network.type_of(layer.name)
    sources = map(network.type_of, layer.inputs)
    return np.concatenate([_moved(x, of, to) for x, of in zip(xs, sources, strict=True)], axis=1)


def _moved(x: Array, source: TensorType, to: TensorType) -> Array:
    """Return elements as those of another type: the same ones, or by a table."""
    return x if source == to else _looked_up(activation_table("none", source, to), x)


@_computed.register(Scale)
def _scale(layer: Scale, network: QuantizedModel, _weights: Weights, x: Array, by: Array) -> Array:
    to = requantization.of_product(network, layer)
    map_zero, by_zero = (network.type_of(name).zero_point or 0 for name in layer.inputs)
    product = (x.astype(np.int32) - map_zero) * (by.astype(np.int32) - by_zero)
    values = fused_multiply_add(product, to.scale, to.shift)
    return saturated(values, network.type_of(layer.name))


@_computed.register(Add)
def _add(layer: Add, network: QuantizedModel, _weights: Weights, x: Array, other: Array) -> Array:
    first, second = requantization.of_addends(network, layer)
    values = fused_multiply_add(x, first.scale, first.shift)
    return saturated(fused_multiply_add(other, second.scale, values), network.type_of(layer.name))


@_computed.register(Quantize)
def _quantize(layer: Quantize, network: QuantizedModel, _weights: Weights, x: Array) -> Array:
    to = requantization.of_numbers(network, layer.name)
    return saturated(fused_multiply_add(x, to.scale, to.shift), network.type_of(layer.name))


@_computed.register(Softmax)
def _softmax(layer: Softmax, network: QuantizedModel, _weights: Weights, x: Array) -> Array:
    """Exponentials of the distance to the largest, by a table; their sum is an integer."""
    table = exponentials(network.type_of(layer.inputs[0]), layer.in_shape[1])
    elements = x.astype(np.int64)
    parts = table[elements.max(axis=1, keepdims=True) - elements]
    to = requantization.of_numbers(network, layer.name)
    share = to.scale / parts.sum(axis=1, keepdims=True).astype(np.float32)
    values = fused_multiply_add(parts, share, to.shift)
    return saturated(values, network.type_of(layer.name))
