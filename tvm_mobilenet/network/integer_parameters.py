"""The numbers that a kernel in integers reads: packed weights, scales, shifts, tables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.models.maps import Concat, Pool2d
from tvm_mobilenet.models.pixels import Pixels
from tvm_mobilenet.models.quantized.arithmetic import centered
from tvm_mobilenet.models.quantized.model import (
    Dequantize,
    Quantize,
    QuantizedModel,
    passes_of,
)
from tvm_mobilenet.models.quantized.requantization import (
    of_addends,
    of_mean,
    of_means,
    of_numbers,
    of_product,
    of_sums,
)
from tvm_mobilenet.models.quantized.tables import activation_table, exponentials
from tvm_mobilenet.models.spec import (
    Activate,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Scale,
    Softmax,
)
from tvm_mobilenet.operators.integers import BLOCK, without_groups
from tvm_mobilenet.operators.packing import pack_bias, rows_in_steps, taps_in_steps
from tvm_mobilenet.operators.workload import Workload

Weights = Mapping[str, NDArray[Any]]


def parameters(
    network: QuantizedModel,
    work: Workload,
    layers: tuple[Layer, ...],
    weights: Weights,
) -> list[NDArray[Any]]:
    """Return a call's parameters in the order in which its kernel takes them.

    Parameters
    ----------
    layers : tuple of Layer
        Those that the call computes, one after the other.
    weights : mapping of str to ndarray
        By full name: weights as their records say, float32 biases.
    """
    return [array for layer in layers for array in _parameters(layer, network, work, weights)]


@singledispatch
def _parameters(
    layer: Layer, network: QuantizedModel, work: Workload, weights: Weights
) -> list[NDArray[Any]]:
    raise NotImplementedError(type(layer).__name__)


@_parameters.register(Conv2d)
@_parameters.register(Dense)
def _weighted(
    layer: Conv2d | Dense,
    network: QuantizedModel,
    work: Workload,
    weights: Weights,
) -> list[NDArray[Any]]:
    record = network.records[layer.name]
    assert record.weight is not None  # QuantizedModel holds every layer with weights to it
    weight = centered(weights[f"{layer.name}.weight"], record.weight)
    windowed = isinstance(layer, Conv2d) and layer.kind == "depthwise"
    if isinstance(layer, Conv2d) and not windowed:
        weight = without_groups(weight, layer.groups)
    passes = passes_of(record)
    weight = weight.astype(np.int8 if passes == 1 else np.int16)
    step = work.tap_step
    packed = taps_in_steps(weight, step, passes) if windowed else rows_in_steps(weight, work)
    to = of_sums(network, layer, weights)
    each = [np.broadcast_to(numbers, len(weight)) for numbers in (to.scale, to.shift)]
    found = [packed, *(pack_bias(numbers, BLOCK) for numbers in each)]
    if record.before is not None:
        found.append(activation_table(layer.activation, record.before, record.output))
    return found


@_parameters.register(Pixels)
def _pixels(
    _layer: Pixels, _network: QuantizedModel, _work: Workload, _weights: Weights
) -> list[NDArray[Any]]:
    return []


@_parameters.register(Add)
def _addends(
    layer: Add, network: QuantizedModel, _work: Workload, _weights: Weights
) -> list[NDArray[Any]]:
    first, second = of_addends(network, layer)
    return [_numbers(first.scale, second.scale, first.shift)]


@_parameters.register(GlobalAvgPool)
def _mean(
    layer: GlobalAvgPool,
    network: QuantizedModel,
    _work: Workload,
    _weights: Weights,
) -> list[NDArray[Any]]:
    to = of_mean(network, layer)
    return [_numbers(to.scale, to.shift)]


@_parameters.register(Concat)
def _moved(
    layer: Concat, network: QuantizedModel, work: Workload, _weights: Weights
) -> list[NDArray[Any]]:
    to = network.type_of(layer.name)
    moved = [network.type_of(layer.inputs[at]) for at in work.moved]
    return [np.stack([activation_table("none", of, to) for of in moved])] if moved else []


@_parameters.register(Pool2d)
def _windows(
    layer: Pool2d, network: QuantizedModel, work: Workload, _weights: Weights
) -> list[NDArray[Any]]:
    source, to = network.type_of(layer.inputs[0]), network.type_of(layer.name)
    if layer.kind == "max":
        return [activation_table("none", source, to)] if work.moved else []
    means = of_means(network, layer)
    return [means.scale.reshape(-1), _numbers(means.shift)]


@_parameters.register(Scale)
def _product(
    layer: Scale, network: QuantizedModel, _work: Workload, _weights: Weights
) -> list[NDArray[Any]]:
    to = of_product(network, layer)
    return [_numbers(to.scale, to.shift)]


@_parameters.register(Quantize)
def _into(
    layer: Quantize, network: QuantizedModel, _work: Workload, _weights: Weights
) -> list[NDArray[Any]]:
    to = of_numbers(network, layer.name)
    return [_numbers(to.scale, to.shift)]


@_parameters.register(Dequantize)
def _out_of(
    layer: Dequantize,
    network: QuantizedModel,
    _work: Workload,
    _weights: Weights,
) -> list[NDArray[Any]]:
    of = network.type_of(layer.inputs[0])
    return [_numbers(of.scale[0], of.zero_point or 0)]


@_parameters.register(Softmax)
def _exponentials(
    layer: Softmax, network: QuantizedModel, _work: Workload, _weights: Weights
) -> list[NDArray[Any]]:
    to = of_numbers(network, layer.name)
    table = exponentials(network.type_of(layer.inputs[0]), layer.in_shape[1])
    return [table, _numbers(to.scale, to.shift)]


@_parameters.register(Activate)
def _table(
    layer: Activate, network: QuantizedModel, _work: Workload, _weights: Weights
) -> list[NDArray[Any]]:
    source, to = network.type_of(layer.inputs[0]), network.type_of(layer.name)
    return [activation_table(layer.activation, source, to)]


def _numbers(*numbers: Any) -> NDArray[Any]:
    return np.array([float(number) for number in numbers], np.float32)
