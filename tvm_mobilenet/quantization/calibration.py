"""Quantises a network after training: ranges from images, weights, biases corrected in one pass."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.models.convolution import mean_sums
from tvm_mobilenet.models.folding import without_batch_norm
from tvm_mobilenet.models.layers import VARIES, Weighted
from tvm_mobilenet.models.pixels import Pixels
from tvm_mobilenet.models.quantized import reference
from tvm_mobilenet.models.quantized.arithmetic import Array
from tvm_mobilenet.models.quantized.lowering import lowered
from tvm_mobilenet.models.quantized.model import Quantization, QuantizedModel
from tvm_mobilenet.models.spec import INPUT, Conv2d, Model
from tvm_mobilenet.models.weights import validate
from tvm_mobilenet.quantization.choice import records_for, shared_types
from tvm_mobilenet.quantization.observation import Observation, observe
from tvm_mobilenet.quantization.pixels import edge_weights
from tvm_mobilenet.quantization.ranges import METHODS, Method, Range, range_of, type_of
from tvm_mobilenet.quantization.weights import rounded

Weights = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Quantized:
    """A quantised network with its parameters.

    Attributes
    ----------
    weights : dict of str to ndarray
        As :func:`tvm_mobilenet.models.quantized.reference.run` takes them.
    """

    model: QuantizedModel
    weights: Weights


def quantize(
    model: Model,
    weights: Mapping[str, NDArray[Any]],
    images: Sequence[ArrayLike],
    *,
    method: Method = "mse",
    keep: Collection[str] = (),
    correct_biases: bool = True,
    seen: Observation | None = None,
) -> Quantized:
    """Quantise a network by what it computes for some images.

    Parameters
    ----------
    images : sequence of array_like
        Inputs of the network's shape, NCHW; read twice.
    method : {"mse", "minmax", "percentile"}
        How ranges are chosen, see :func:`tvm_mobilenet.quantization.ranges.range_of`.
    keep : collection of str
        Layers that compute in float32.
    correct_biases : bool
        Whether each bias takes what quantising has moved the mean of its sums by.
    seen : Observation, optional
        What the float network computes for these images, where that is known.

    Raises
    ------
    QuantizationError
        If there is no image, a value is not finite, or the method is unknown.
    InvalidModelError
        If there is no layer of a name to keep.
    InputError, WeightsError
        If an image or the weights do not fit the model.
    """
    if method not in METHODS:
        raise QuantizationError(f"unknown method {method!r}", f"known: {', '.join(METHODS)}")
    for name in keep:
        model.layer(name)
    validate(model, weights)
    seen = observe(model, weights, images) if seen is None else seen
    types = {name: type_of(range_of(found, method)) for name, found in seen.values.items()}
    types = shared_types(model, types, keep)
    sums = {
        layer.name: type_of(_varying(layer, range_of(seen.sums[layer.name], method)))
        for layer in model.layers
        if isinstance(layer, Weighted) and layer.name in seen.sums
    }
    records = records_for(model, weights, types, sums, keep)
    network = Quantized(lowered(model, records, types), _quantized(model, weights, records))
    return _corrected(network, seen.means, images) if correct_biases else network


def _varying(layer: Weighted, of: Range) -> Range:
    """Return the part of a range of sums in which a layer's activation is not constant."""
    least, greatest = VARIES[layer.activation]
    return max(of[0], least), min(of[1], greatest)


def _quantized(
    model: Model, weights: Mapping[str, NDArray[Any]], records: Mapping[str, Quantization]
) -> Weights:
    """Return the parameters of a network, batch norms inside those of integer layers."""
    found: Weights = {}
    framed = {layer.name: layer for layer in model.layers if isinstance(layer, Pixels)}
    for layer in model.layers:
        record = records.get(layer.name)
        if isinstance(layer, Weighted) and record is not None and record.weight is not None:
            weight, bias = without_batch_norm(layer, weights)
            elements, pixels = rounded(weight, record.weight), framed.get(layer.inputs[0])
            found[f"{layer.name}.weight"] = edge_weights(elements, pixels) if pixels else elements
            found[f"{layer.name}.bias"] = bias.astype(np.float32)
        else:
            found |= {name: np.asarray(weights[name]) for name in layer.parameters}
    return found


def _corrected(
    network: Quantized, means: Mapping[str, NDArray[np.float64]], images: Sequence[ArrayLike]
) -> Quantized:
    """Give each bias the difference of means, every layer behind those that are corrected.

    Layer by layer over all images, so that one pass is enough: a layer sees what the quantised
    and corrected layers before it compute. Values are dropped after their last use; those of
    all images that are alive together are what this takes in memory.
    """
    model, weights = network.model, dict(network.weights)
    values: dict[str, list[Array]] = {
        INPUT: [np.asarray(x, model.model.input_dtype) for x in images]
    }
    last_use = {name: layer.name for layer in model.model.layers for name in layer.inputs}
    for layer in model.model.layers:
        inputs = [values[name] for name in layer.inputs]
        if layer.name in model.records and isinstance(layer, Weighted):
            moved = means[layer.name] - _mean(model, layer, weights, inputs[0])
            bias = f"{layer.name}.bias"
            weights[bias] = (weights[bias] + moved).astype(np.float32)
        values[layer.name] = [
            reference.run_layer(model, weights, layer, *one) for one in zip(*inputs, strict=True)
        ]
        for name in set(layer.inputs):
            if last_use[name] == layer.name:
                del values[name]
    return Quantized(model, weights)


def _mean(
    model: QuantizedModel, layer: Weighted, weights: Weights, inputs: Sequence[Array]
) -> NDArray[np.float64]:
    """Return the mean of what a layer's activation reads, (O,), before any rounding."""
    record, source = model.records[layer.name], model.type_of(layer.inputs[0])
    assert record.weight is not None  # QuantizedModel holds every layer with weights to it
    weight = weights[f"{layer.name}.weight"].astype(np.float64)
    total = np.zeros(len(weight))
    for x in inputs:
        centered = x.astype(np.float64) - (source.zero_point or 0)
        if isinstance(layer, Conv2d):
            total += mean_sums(layer, weight, centered)
        else:
            total += weight @ centered.mean(axis=0)
    scale = source.scale[0] * np.asarray(record.weight.scale)
    return np.asarray(total / len(inputs) * scale + weights[f"{layer.name}.bias"])
