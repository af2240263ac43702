"""What quantising cost, layer by layer, against the float64 reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tvm_mobilenet.models import reference
from tvm_mobilenet.models.quantized import reference as integer_reference
from tvm_mobilenet.models.quantized.arithmetic import dequantized
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.quantization.calibration import Quantized


def sqnr(
    model: Model,
    weights: Mapping[str, NDArray[Any]],
    network: Quantized,
    images: Sequence[ArrayLike],
) -> dict[str, float]:
    """Return the signal-to-quantisation-noise ratio of every layer's value, in dB.

    Each layer reads what the quantised layers before it compute, so that noise adds up along the
    network: ``10 * log10(sum(want**2) / sum((got - want)**2))`` over all images.

    Parameters
    ----------
    model, weights
        The float network that `network` was made of.

    Returns
    -------
    dict of str to float
        By layer of `model`, in its order; infinite where nothing was lost.
    """
    signal = dict.fromkeys((layer.name for layer in model.layers), 0.0)
    noise = dict(signal)
    for image in images:
        want = reference.run(model, weights, image, keep_layers=True)
        got = integer_reference.run(network.model, network.weights, image)
        for name, expected in want.items():
            of = network.model.type_of(name)
            found = dequantized(got[name], of) if of.quantized else got[name]
            signal[name] += float(np.sum(expected**2))
            noise[name] += float(np.sum((found - expected) ** 2))
    return {name: _decibels(signal[name], noise[name]) for name in signal}


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf
