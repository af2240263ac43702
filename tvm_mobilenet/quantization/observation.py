"""What the float network computes for some images: the numbers of every value, and means."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tvm_mobilenet.common.functions import tabled
from tvm_mobilenet.errors import InputError, QuantizationError
from tvm_mobilenet.models.activations import activate
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.spec import INPUT, Model
from tvm_mobilenet.quantization.floats import Float32, FloatNetwork
from tvm_mobilenet.quantization.progress import Progress, silent, told
from tvm_mobilenet.quantization.ranges import Histogram

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
    means: dict[str, NDArray[np.float64]] = field(default_factory=dict)


def observe(
    model: Model, weights: Weights, images: Sequence[ArrayLike], progress: Progress = silent
) -> Observation:
    """Run the network over images, one at a time, and keep what was seen.

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
    network = FloatNetwork(model, weights)
    last_use = {name: layer.name for layer in model.layers for name in layer.inputs}
    seen = Observation()
    for image in told(images, progress, "observing the float network"):
        values = {INPUT: _input(image, model.input_shape)}
        _count(seen.values, INPUT, values[INPUT])
        for layer in model.layers:
            inputs = [values[name] for name in layer.inputs]
            if isinstance(layer, Weighted):
                values[layer.name] = _observed(layer, network, inputs[0], seen)
            else:
                values[layer.name] = network.run_layer(layer, inputs)
            _count(seen.values, layer.name, values[layer.name])
            for name in set(layer.inputs):
                if last_use[name] == layer.name:
                    del values[name]
    seen.means = {name: total / len(images) for name, total in seen.means.items()}
    return seen


def _input(image: ArrayLike, shape: tuple[int, ...]) -> Float32:
    found = np.asarray(image, np.float32)
    if found.shape != shape:
        raise InputError(f"an image has shape {found.shape}", f"give shape {shape}")
    return found


def _observed(layer: Weighted, network: FloatNetwork, x: Float32, seen: Observation) -> Float32:
    """Compute a layer, and keep what its activation reads."""
    sums = network.sums(layer, x)
    mean = sums.mean(axis=(0, *range(2, sums.ndim)), dtype=np.float64)
    seen.means[layer.name] = seen.means.get(layer.name, 0.0) + mean
    if tabled(layer.activation):
        _count(seen.sums, layer.name, sums)
    return activate(sums, layer.activation, out=sums)


def _count(histograms: Mapping[str, Histogram], name: str, values: Float32) -> None:
    try:
        histograms[name].add(values)
    except QuantizationError as error:
        raise QuantizationError(
            f"{name!r} cannot be quantised: {error.what}", "give images that the network can take"
        ) from error
