"""The parameters of a plan's calls: batch norm inside, in the order in which kernels read them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.models.elements import is_slopes
from tvm_mobilenet.models.folding import without_batch_norm
from tvm_mobilenet.models.layer_norm import LayerNorm
from tvm_mobilenet.models.layers import Conv2d, Dense, Weighted
from tvm_mobilenet.models.operator import Operator
from tvm_mobilenet.models.quantized.model import QuantizedModel
from tvm_mobilenet.models.transposed import ConvTranspose2d
from tvm_mobilenet.network.integer_parameters import parameters
from tvm_mobilenet.network.plan import Call
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.packing import Affine, Array, pack

Weights = Mapping[str, NDArray[np.float32]]

_WEIGHTED = (Conv2d, ConvTranspose2d, Dense, LayerNorm)


def packed(
    call: Call, weights: Mapping[str, NDArray[Any]], integers: QuantizedModel | None = None
) -> list[Array]:
    """Return a call's parameters as its kernel takes them: a weight and a bias for each layer.

    Parameters
    ----------
    integers : QuantizedModel, optional
        The plan's, of which kernels in integers take what else there is.
    """
    if call.work.integer:
        assert integers is not None  # the plan of such a kernel has one
        return parameters(integers, call.work, call.layers, weights)
    first = call.layers[0]
    if not any(isinstance(layer, _WEIGHTED) for layer in call.layers) and isinstance(
        first, Operator
    ):
        return OPERATORS[call.work.operator].constants(call.work, first, weights)
    layers: list[Affine] = []
    for layer in call.weighted:
        if is_slopes(layer):  # a PReLU behind it
            (slope,) = (weights[name].reshape(-1) for name in layer.parameters)
            layers[-1] = dataclasses.replace(layers[-1], slope=slope)
        else:
            layers.append(folded(layer, weights))  # type: ignore[arg-type]
    return pack(call.work, layers)


def folded(layer: Weighted | ConvTranspose2d, weights: Weights) -> Affine:
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
    weight, bias = without_batch_norm(layer, weights)
    return Affine(weight.astype(np.float32), bias.astype(np.float32))
