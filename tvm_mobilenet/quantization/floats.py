"""The float network in float32, batch norms folded: what calibration looks at, and moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.models import reference
from tvm_mobilenet.models.activations import activate
from tvm_mobilenet.models.convolution import convolve
from tvm_mobilenet.models.folding import without_batch_norm
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.spec import Conv2d, Layer, Model

Float32 = NDArray[np.float32]


class FloatNetwork:
    """A network's layers, one by one; twice as fast as the float64 reference.

    Attributes
    ----------
    folded : dict of str to tuple of ndarray
        Weight and bias of each layer that has some, its batch norm inside.
    """

    def __init__(self, model: Model, weights: Mapping[str, NDArray[Any]]) -> None:
        self._weights = weights
        self.folded: dict[str, tuple[Float32, Float32]] = {}
        for layer in model.layers:
            if isinstance(layer, Weighted):
                weight, bias = without_batch_norm(layer, weights)
                self.folded[layer.name] = weight.astype(np.float32), bias.astype(np.float32)

    def sums(self, layer: Weighted, x: Float32, weight: Float32 | None = None) -> Float32:
        """Return what a layer's activation reads, by its own weight or another."""
        own, bias = self.folded[layer.name]
        weight = own if weight is None else weight
        if isinstance(layer, Conv2d):
            found = convolve(layer, weight, x)
            found += bias[:, None, None]
            return found
        return np.asarray(x @ weight.T + bias)

    def run_layer(self, layer: Layer, inputs: Sequence[Float32]) -> Float32:
        """Return a layer's value."""
        if isinstance(layer, Weighted):
            sums = self.sums(layer, inputs[0])
            return activate(sums, layer.activation, out=sums)
        return reference.run_layer(layer, self._weights, *inputs).astype(np.float32)
