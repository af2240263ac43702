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
    (found,) = qualities(model, weights, [network], images, progress, kept_as=kept_as)
    return found


def qualities(
    model: Model,
    weights: Mapping[str, NDArray[Any]],
    networks: Sequence[Quantized],
    images: Sequence[ArrayLike],
    progress: Progress = silent,
    *,
    kept_as: Literal["float32", "bfloat16"] = "float32",
) -> list[Quality]:
    """Return :func:`quality` of each of some networks; the float one runs once for all."""
    tallies = [_Tally(model, network) for network in networks]
    for image in told(images, progress, "measuring what it cost"):
        want = reference.run(model, weights, image, keep_layers=True)
        for tally in tallies:
            tally.add(want, image, kept_as)
    return [tally.quality for tally in tallies]


class _Tally:
    """Signal and noise of a network, image by image."""

    def __init__(self, model: Model, network: Quantized) -> None:
        self._network, self._decides = network, deciding(model)
        self._signal = dict.fromkeys((layer.name for layer in model.layers), 0.0)
        self._noise = dict(self._signal)
        self._same: list[NDArray[np.bool_]] = []

    def add(
        self,
        want: Mapping[str, NDArray[np.float64]],
        image: ArrayLike,
        kept_as: Literal["float32", "bfloat16"],
    ) -> None:
        """Count in an image, of which `want` is what the float network makes."""
        network = self._network
        got = integer_reference.run(network.model, network.weights, image, kept_as)
        for name, expected in want.items():
            of = network.model.type_of(name)
            found = dequantized(got[name], of) if of.quantized else got[name]
            self._signal[name] += float(np.sum(expected**2))
            self._noise[name] += float(np.sum((found - expected) ** 2))
            if name == self._decides:
                rows = (np.reshape(each, (len(each), -1)) for each in (expected, found))
                first, second = (each.argmax(axis=1) for each in rows)
                self._same.append(first == second)

    @property
    def quality(self) -> Quality:
        layers = {name: _decibels(self._signal[name], self._noise[name]) for name in self._signal}
        same = float(np.mean(np.concatenate(self._same)))
        return Quality(layers, layers[self._decides], same)


def deciding(model: Model) -> str:
    """Return the layer whose value are the logits: what a softmax at the end reads."""
    last = model.layer(model.outputs[0])
    return last.inputs[0] if isinstance(last, Softmax) else last.name


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf
