"""Quantises a network after training: ranges from images, weights, biases corrected in one pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tvm_mobilenet.common.functions import varies
from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.models.convolution import mean_sums
from tvm_mobilenet.models.folding import without_batch_norm
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.quantized import reference
from tvm_mobilenet.models.quantized.arithmetic import Array
from tvm_mobilenet.models.quantized.lowering import lowered
from tvm_mobilenet.models.quantized.model import Quantization, QuantizedModel
from tvm_mobilenet.models.spec import INPUT, Conv2d, Layer, Model
from tvm_mobilenet.models.tensors import TensorType
from tvm_mobilenet.models.weights import validate
from tvm_mobilenet.quantization.choice import records_for
from tvm_mobilenet.quantization.observation import Observation, observe
from tvm_mobilenet.quantization.progress import Progress, silent, told
from tvm_mobilenet.quantization.ranges import METHODS, Method, Range, range_of, type_of
from tvm_mobilenet.quantization.weights import rounded

Weights = dict[str, NDArray[Any]]

_TOGETHER = 8
"""Images that a layer is run on at a time."""


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
    progress: Progress = silent,
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
    seen = observe(model, weights, images, progress) if seen is None else seen
    types = types_for(seen, method)
    sums = {
        layer.name: type_of(_varying(layer, range_of(seen.sums[layer.name], method)))
        for layer in model.layers
        if isinstance(layer, Weighted) and layer.name in seen.sums
    }
    records = records_for(model, weights, types, sums, keep)
    network = Quantized(lowered(model, records, types), _quantized(model, weights, records))
    return _corrected(network, seen.means, images, progress) if correct_biases else network


def types_for(seen: Observation, method: Method) -> dict[str, TensorType]:
    """Return what the elements of each value stand for, by name."""
    return {name: type_of(range_of(found, method)) for name, found in seen.values.items()}


def _varying(layer: Weighted, of: Range) -> Range:
    """Return the part of a range of sums in which a layer's activation is not constant."""
    least, greatest = varies(layer.activation)
    return max(of[0], least), min(of[1], greatest)


def _quantized(
    model: Model, weights: Mapping[str, NDArray[Any]], records: Mapping[str, Quantization]
) -> Weights:
    """Return the parameters of a network, batch norms inside those of integer layers."""
    found: Weights = {}
    for layer in model.layers:
        record = records.get(layer.name)
        if isinstance(layer, Weighted) and record is not None and record.weight is not None:
            weight, bias = without_batch_norm(layer, weights)
            found[f"{layer.name}.weight"] = rounded(weight, record.weight)
            found[f"{layer.name}.bias"] = bias.astype(np.float32)
        else:
            found |= {name: np.asarray(weights[name]) for name in layer.parameters}
    return found


def _corrected(
    network: Quantized,
    means: Mapping[str, NDArray[np.float64]],
    images: Sequence[ArrayLike],
    progress: Progress,
) -> Quantized:
    """Give each bias the difference of means, every layer behind those that are corrected.

    Layer by layer over all images, so that one pass is enough: a layer sees what the quantised
    and corrected layers before it compute. Values are dropped after their last use; those of
    all images that are alive together are what this takes in memory.
    """
    model, weights = network.model, dict(network.weights)
    values: dict[str, list[Array]] = {INPUT: [np.asarray(x, np.float32) for x in images]}
    last_use = {name: layer.name for layer in model.model.layers for name in layer.inputs}
    for layer in told(model.model.layers, progress, "correcting biases"):
        inputs = [values[name] for name in layer.inputs]
        if layer.name in model.records and isinstance(layer, Weighted):
            moved = means[layer.name] - _mean(model, layer, weights, inputs[0])
            bias = f"{layer.name}.bias"
            weights[bias] = (weights[bias] + moved).astype(np.float32)
        values[layer.name] = list(_run(model, weights, layer, inputs))
        for name in set(layer.inputs):
            if last_use[name] == layer.name:
                del values[name]
    return Quantized(model, weights)


def _run(
    model: QuantizedModel, weights: Weights, layer: Layer, inputs: Sequence[Sequence[Array]]
) -> Iterator[Array]:
    """Run a layer on all images, some at a time where its weights have to be made ready."""
    if layer.name not in model.records or not isinstance(layer, Weighted):
        for one in zip(*inputs, strict=True):
            yield reference.run_layer(model, weights, layer, *one)
        return
    batch = layer.in_shape[0]
    for at in range(0, len(inputs[0]), _TOGETHER):
        x = np.concatenate(inputs[0][at : at + _TOGETHER])
        wide = dataclasses.replace(layer, in_shape=x.shape)
        y = reference.run_layer(model, weights, wide, x)
        yield from np.split(y, len(y) // batch)


def _mean(
    model: QuantizedModel, layer: Weighted, weights: Weights, inputs: Sequence[Array]
) -> NDArray[np.float64]:
    """Return the mean of what a layer's activation reads, (O,), before any rounding."""
    record, source = model.records[layer.name], model.type_of(layer.inputs[0])
    assert record.weight is not None  # QuantizedModel holds every layer with weights to it
    weight = weights[f"{layer.name}.weight"].astype(np.float64)
    total = np.zeros(layer.in_shape)
    for x in inputs:
        total += x
    seen = total / len(inputs) - (source.zero_point or 0)
    sums = (
        mean_sums(layer, weight, seen) if isinstance(layer, Conv2d) else weight @ seen.mean(axis=0)
    )
    scale = source.scale[0] * np.asarray(record.weight.scale)
    return np.asarray(sums * scale + weights[f"{layer.name}.bias"])
