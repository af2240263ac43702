"""What quantising cost, layer by layer, against the float64 reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tvm_mobilenet.models import reference
from tvm_mobilenet.models.quantized import reference as integer_reference
from tvm_mobilenet.models.quantized.arithmetic import dequantized
from tvm_mobilenet.models.spec import Model, Softmax
from tvm_mobilenet.quantization.calibration import Quantized
from tvm_mobilenet.quantization.progress import Progress, silent, told


@dataclass(frozen=True, slots=True)
class Quality:
    """What quantising cost over some inputs.

    Attributes
    ----------
    layers : dict of str to float
        Signal-to-quantisation-noise ratio of every layer's value, dB:
        ``10 * log10(sum(want**2) / sum((got - want)**2))``. Each layer reads what the quantised
        layers before it compute, so that noise adds up along the network; infinite where nothing
        was lost.
    logits : float
        That of the layer that decides: what a softmax at the end reads, or the output.
    agreement : float
        Share of rows of the output whose largest number is where the float network's is.
    """

    layers: dict[str, float]
    logits: float
    agreement: float


def quality(
    model: Model,
    weights: Mapping[str, NDArray[Any]],
    network: Quantized,
    images: Sequence[ArrayLike],
    progress: Progress = silent,
    *,
    kept_as: Literal["float32", "bfloat16"] = "float32",
) -> Quality:
    """Return what quantising cost, against the float64 reference.

    Parameters
    ----------
    model, weights
        The float network that `network` was made of.
    kept_as : {"float32", "bfloat16"}
        As of :func:`tvm_mobilenet.models.quantized.reference.run`.
    """
    signal = dict.fromkeys((layer.name for layer in model.layers), 0.0)
    noise = dict(signal)
    decides = deciding(model)
    same: list[Any] = []
    for image in told(images, progress, "measuring what it cost"):
        want = reference.run(model, weights, image, keep_layers=True)
        got = integer_reference.run(network.model, network.weights, image, kept_as)
        for name, expected in want.items():
            of = network.model.type_of(name)
            found = dequantized(got[name], of) if of.quantized else got[name]
            signal[name] += float(np.sum(expected**2))
            noise[name] += float(np.sum((found - expected) ** 2))
            if name == decides:
                rows = (np.reshape(each, (len(each), -1)) for each in (expected, found))
                first, second = (each.argmax(axis=1) for each in rows)
                same.append(first == second)
    layers = {name: _decibels(signal[name], noise[name]) for name in signal}
    return Quality(layers, layers[decides], float(np.mean(np.concatenate(same))))


def deciding(model: Model) -> str:
    """Return the layer whose value are the logits: what a softmax at the end reads."""
    last = model.layer(model.outputs[0])
    return last.inputs[0] if isinstance(last, Softmax) else last.name


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf
