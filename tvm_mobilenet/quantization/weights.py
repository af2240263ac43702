"""Weights as int8: symmetric, with a scale for each output channel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
