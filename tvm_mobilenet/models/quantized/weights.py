"""Weights as int8: symmetric, with a scale for each output channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.models.folding import without_batch_norm
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.pixels import Pixels, edge_weights
from tvm_mobilenet.models.quantized.model import Quantization
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.models.tensors import TensorType

_LARGEST = 127
"""-128 is left out, so that a weight and its negative are both there."""

_SMALLEST_CHANNEL = 2.0**-20
"""Weights of a channel below this part of the tensor's largest are rounded as if it had that."""


def weight_type(weight: NDArray[np.float64]) -> TensorType:
    """Return int8 with the scale of each output channel: its largest weight is 127."""
    largest = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
    floor = float(largest.max()) * _SMALLEST_CHANNEL or 1.0
    return TensorType("int8", tuple((np.maximum(largest, floor) / _LARGEST).tolist()), 0)


def rounded(weight: NDArray[np.floating[Any]], of: TensorType) -> NDArray[np.int8]:
    """Return weights (O, ...) as elements, ties to even."""
    scales = np.asarray(of.scale).reshape(-1, *(1,) * (weight.ndim - 1))
    elements = np.clip(np.rint(weight / scales), -_LARGEST, _LARGEST)
    return np.asarray(elements, np.int8)


def in_elements(
    model: Model, weights: Mapping[str, NDArray[Any]], records: Mapping[str, Quantization]
) -> dict[str, NDArray[Any]]:
    """Return the parameters of a network whose layers with a record compute in integers.

    Parameters
    ----------
    model : Model
        Layers in float32, as one imports or builds them.
    records : mapping of str to Quantization
        By name, with the types of weights.

    Returns
    -------
    dict of str to ndarray
        By full name: of layers with a record the weight as int8 and the bias as float32, batch
        norms inside of them; of others what was given.
    """
    found: dict[str, NDArray[Any]] = {}
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
