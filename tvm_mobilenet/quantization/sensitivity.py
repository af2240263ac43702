"""What each layer in integers does to the logits, measured alone in a network of floats.

Noises of many roundings add up nearly as their powers do, so that each can be measured apart from
all others: rounding a layer's weights, and rounding a value to 256 elements.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.models.activations import activate
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.quantized.model import Quantization
from tvm_mobilenet.models.quantized.weights import rounded
from tvm_mobilenet.models.spec import INPUT, Layer, Model
from tvm_mobilenet.models.tensors import TensorType
from tvm_mobilenet.quantization.floats import Float32, FloatNetwork
from tvm_mobilenet.quantization.progress import Progress, silent, told
from tvm_mobilenet.quantization.quality import deciding


def hurting(
    model: Model,
    weights: Mapping[str, NDArray[Any]],
    integers: Mapping[str, Quantization],
    types: Mapping[str, TensorType],
    images: Sequence[NDArray[Any]],
    *,
    progress: Progress = silent,
) -> dict[str, float]:
    """Return what leaving each layer in float32 can spare the logits, as a share of their power.

    That is the noise of its weights, of the values that it reads and of its own: a value is exact
    only where both who computes it and who reads it are in float32, so that it counts for either.

    Parameters
    ----------
    integers : mapping of str to Quantization
        The layers that compute in integers.
    types : mapping of str to TensorType
        By name, what a value's elements stand for.

    Returns
    -------
    dict of str to float
        By name of each layer in integers.
    """
    network = FloatNetwork(model, weights)
    values_rounded = _values_rounded(model, integers)
    of_weight: dict[str, float] = defaultdict(float)
    of_value: dict[str, float] = defaultdict(float)
    for image in images:
        case = _Case(model, network, np.asarray(image, np.float32))
        for name in told(values_rounded, progress, "measuring what each layer costs"):
            of_value[name] += case.noise(name, _elements(case.values[name], types[name]))
        for layer in model.layers:
            record = integers.get(layer.name)
            if isinstance(layer, Weighted) and record is not None and record.weight is not None:
                of_weight[layer.name] += case.noise(
                    layer.name, _with_rounded_weight(layer, record.weight, network, case)
                )
    return {
        layer.name: of_weight[layer.name]
        + sum(of_value[name] for name in {layer.name, *layer.inputs})
        for layer in model.layers
        if layer.name in integers
    }


def _values_rounded(model: Model, records: Mapping[str, Quantization]) -> list[str]:
    """Return the values that are elements somewhere."""
    read = {name for layer in model.layers if layer.name in records for name in layer.inputs}
    return [
        name
        for name in (INPUT, *(layer.name for layer in model.layers))
        if (records[name].output.quantized if name in records else name in read)
    ]


def _elements(x: Float32, of: TensorType) -> Float32:
    """Round numbers to what elements stand for."""
    scale, zero = np.float32(of.scale[0]), np.float32(of.zero_point or 0)
    elements = np.clip(np.rint(x / scale) + zero, *of.limits)
    return np.asarray((elements - zero) * scale, np.float32)


def _with_rounded_weight(
    layer: Weighted, of: TensorType, network: FloatNetwork, case: _Case
) -> Float32:
    """Return a layer's value with its weight as elements, its bias corrected for that."""
    own, _ = network.folded[layer.name]
    scales = np.asarray(of.scale, np.float32).reshape(-1, *(1,) * (own.ndim - 1))
    x = case.values[layer.inputs[0]]
    wanted = network.sums(layer, x)
    found = network.sums(layer, x, rounded(own, of).astype(np.float32) * scales)
    pixels = (0, *range(2, found.ndim))
    found += (wanted - found).mean(axis=pixels, keepdims=True)
    return activate(found, layer.activation, out=found)


class _Case:
    """A network's values for an image, and what changing one of them does."""

    def __init__(self, model: Model, network: FloatNetwork, image: Float32) -> None:
        self._network = network
        self._last = deciding(model)
        names = [layer.name for layer in model.layers]
        self._layers = model.layers[: names.index(self._last) + 1]
        self.values = {INPUT: image}
        for layer in model.layers:
            self.values[layer.name] = self._run(layer, self.values)
        self._power = float(np.sum(np.square(self.values[self._last], dtype=np.float64)))

    def _run(self, layer: Layer, values: Mapping[str, Float32]) -> Float32:
        return self._network.run_layer(layer, [values[name] for name in layer.inputs])

    def noise(self, name: str, value: Float32) -> float:
        """Return the share of the logits' power that changing one value moves them by."""
        changed = {name: value}
        for layer in self._layers:
            if layer.name != name and not changed.keys().isdisjoint(layer.inputs):
                changed[layer.name] = self._run(layer, {**self.values, **changed})
        if self._last not in changed or not self._power:
            return 0.0
        off = np.subtract(changed[self._last], self.values[self._last], dtype=np.float64)
        return float(np.sum(off**2)) / self._power
