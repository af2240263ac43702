"""Batch norm becomes a scale of a layer's weights, and a bias.

``gamma * (conv(x, w) - mean) / sqrt(variance + eps) + beta`` is
``conv(x, w * s) + (beta - mean * s)`` with ``s = gamma / sqrt(variance + eps)``
(arXiv 1502.03167, section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.transposed import ConvTranspose2d

Float64 = NDArray[np.float64]


def without_batch_norm(
    layer: Weighted | ConvTranspose2d, weights: Mapping[str, NDArray[Any]]
) -> tuple[Float64, Float64]:
    """Return a layer's weight and bias with its batch norm inside, in float64.

    Parameters
    ----------
    weights : mapping of str to ndarray
        By full name, at least the layer's.

    Returns
    -------
    tuple of ndarray
        Weight OIHW or (O, I), bias (O,): zeros where the layer has none.
    """
    weight = weights[f"{layer.name}.weight"].astype(np.float64)
    bias = np.zeros(len(weight))
    if layer.bias:
        bias = weights[f"{layer.name}.bias"].reshape(-1).astype(np.float64)
    if layer.batch_norm is None:
        return weight, bias
    gamma, beta, mean, variance = (
        weights[f"{layer.name}.bn.{name}"].astype(np.float64)
        for name in ("gamma", "beta", "mean", "variance")
    )
    scale = gamma / np.sqrt(variance + layer.batch_norm)
    per_output = scale.reshape(-1, *(1,) * (weight.ndim - 1))
    return weight * per_output, beta + (bias - mean) * scale
