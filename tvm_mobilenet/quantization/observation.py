"""What the float reference computes for some images: the numbers of every value, and means."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.activations import activate
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.quantized.model import TABLED
from tvm_mobilenet.models.spec import INPUT, Layer, Model
from tvm_mobilenet.quantization.ranges import Histogram

Float64 = NDArray[np.float64]
Weights = Mapping[str, NDArray[Any]]


@dataclass
class Observation:
    """What was seen.

    Attributes
    ----------
    values : dict of str to Histogram
        The numbers of every layer's value, and of the input, by name.
    sums : dict of str to Histogram
        What the activations that are no clipping read, by layer.
    means : dict of str to ndarray
        Mean of what a layer's activation reads, for each output channel, over images and pixels.
    """

    values: dict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    sums: dict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    means: dict[str, Float64] = field(default_factory=dict)


def observe(model: Model, weights: Weights, images: Sequence[ArrayLike]) -> Observation:
    """Run the float64 reference over images, one at a time, and keep what was seen.

    Parameters
    ----------
    images : sequence of array_like
        Inputs of the network's shape, NCHW.

    Raises
    ------
    QuantizationError
        If there is no image, or a value is NaN or infinite.
    InputError
        If an image has another shape.
    """
    if not len(images):
        raise QuantizationError("there is no image to calibrate with", "give at least one")
    seen = Observation()
    for image in images:
        values = {INPUT: np.asarray(image, np.float64)}
        _count(seen.values, INPUT, values[INPUT])
        for layer in model.layers:
            inputs = [values[name] for name in layer.inputs]
            values[layer.name] = _observed(layer, weights, inputs, seen)
            _count(seen.values, layer.name, values[layer.name])
    seen.means = {name: total / len(images) for name, total in seen.means.items()}
    return seen


def _observed(
    layer: Layer, weights: Weights, inputs: Sequence[Float64], seen: Observation
) -> Float64:
    """Compute a layer, and keep what its activation reads."""
    if not isinstance(layer, Weighted):
        return reference.run_layer(layer, weights, *inputs)
    sums = reference.run_layer(dataclasses.replace(layer, activation="none"), weights, *inputs)
    mean = sums.mean(axis=(0, *range(2, sums.ndim)))
    seen.means[layer.name] = seen.means.get(layer.name, 0.0) + mean
    if layer.activation in TABLED:
        _count(seen.sums, layer.name, sums)
    return activate(sums, layer.activation)


def _count(histograms: Mapping[str, Histogram], name: str, values: Float64) -> None:
    try:
        histograms[name].add(values)
    except QuantizationError as error:
        raise QuantizationError(
            f"{name!r} cannot be quantised: {error.what}", "give images that the network can take"
        ) from error
