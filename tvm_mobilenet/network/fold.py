"""Batch norm becomes a scale of a convolution's weights, and a bias.

``gamma * (conv(x, w) - mean) / sqrt(variance + eps) + beta`` is
``conv(x, w * s) + (beta - mean * s)`` with ``s = gamma / sqrt(variance + eps)``
(arXiv 1502.03167, section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.models.spec import Conv2d, Dense
from tvm_mobilenet.network.plan import Call
from tvm_mobilenet.operators.packing import Affine, Array, pack

Weights = Mapping[str, NDArray[np.float32]]


def packed(call: Call, weights: Weights) -> list[Array]:
    """Return a call's parameters as its kernel takes them: a weight and a bias for each layer."""
    layers = [folded(layer, weights) for layer in call.weighted]  # type: ignore[arg-type]
    return pack(call.work, layers)


def folded(layer: Conv2d | Dense, weights: Weights) -> Affine:
    """Return a layer's weight and bias with its batch norm inside, zeros where it has no bias.

    Parameters
    ----------
    weights : mapping of str to ndarray
        By full name, at least the layer's.

    Returns
    -------
    Affine
        Folded in float64, rounded once.
    """
    weight = weights[f"{layer.name}.weight"]
    bias = np.zeros(len(weight), np.float32)
    if layer.bias:
        bias = weights[f"{layer.name}.bias"].reshape(-1)
    if not isinstance(layer, Conv2d) or layer.batch_norm is None:
        return Affine(weight, bias)
    gamma, beta, mean, variance = (
        weights[f"{layer.name}.bn.{name}"].astype(np.float64)
        for name in ("gamma", "beta", "mean", "variance")
    )
    scale = gamma / np.sqrt(variance + layer.batch_norm)
    return Affine(
        (weight * scale[:, None, None, None]).astype(np.float32),
        (beta + (bias - mean) * scale).astype(np.float32),
    )
