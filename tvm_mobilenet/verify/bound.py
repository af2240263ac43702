"""Guaranteed bounds: how far any element of a result may be from the float64 reference.

|error| <= gamma_K sum |w||x|, gamma_K = K u / (1 - K u), for an inner product of K terms in any
order (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1). The reference
itself computes sum |w||x| when it is given magnitudes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.common.functions import losses, steepest
from tvm_mobilenet.errors import UnjudgedError
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.elements import Elementwise
from tvm_mobilenet.models.layer_norm import LayerNorm
from tvm_mobilenet.models.layers import LpNormalization
from tvm_mobilenet.models.moves import Moves
from tvm_mobilenet.models.products import Product
from tvm_mobilenet.models.spec import (
    Activate,
    Activation,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Operator,
    Scale,
    Softmax,
)
from tvm_mobilenet.models.transposed import ConvTranspose2d
from tvm_mobilenet.models.views import Copy
from tvm_mobilenet.models.windows import Window
from tvm_mobilenet.verify.rounding import (
    END_TO_END,
    EPILOGUE,
    STORED,
    STORES,
    UNIT_ROUNDOFF,
    largest,
    row_lengths,
    terms_of,
)

SUBNORMAL = {"float32": 0.0, "float16": 2.0**-25, "bfloat16": 2.0**-100}
"""What a result may lose however small it is: of float16 below 2**-14; what instructions on
bfloat16 take for 0 is below 2**-126, and what it is multiplied by no greater than 2**26."""


Weights = Mapping[str, NDArray[Any]]
Float64 = NDArray[np.float64]


def guaranteed_bound(
    layers: tuple[Layer, ...],
    weights: Weights,
    values: Mapping[str, NDArray[Any]],
    stored: str = "float32",
    *,
    exact_sums: bool = False,
) -> Float64 | None:
    """Bound the error of every element of the last of `layers`, or None if none is known.

    `stored` is the type of maps and weights.
    """
    if isinstance(layers[0], Operator):
        return _sums_bound(layers[0], weights, values, stored)
    known = _Known(weights, values, {})
    for layer in layers:
        roundings = ((0 if exact_sums else terms_of(layer)) + EPILOGUE) * UNIT_ROUNDOFF
        both = _gamma(roundings), _gamma(roundings + STORES * STORED[stored])
        bound = _bound(layer, known, _Loss(*both, SUBNORMAL[stored]))
        if bound is None:
            return None
        known.errors[layer.name] = bound
    return known.errors[layers[-1].name]


def _gamma(roundings: float) -> float:
    return roundings / (1 - roundings)


class _Known(NamedTuple):
    """What the errors of a layer are made from."""

    weights: Weights
    values: Mapping[str, NDArray[Any]]
    errors: dict[str, Float64]

    def magnitude(self, name: str) -> Float64:
        return np.abs(np.asarray(self.values[name], np.float64))

    def error(self, name: str) -> Float64:
        known = self.errors.get(name)
        return np.zeros(self.values[name].shape) if known is None else known


class _Loss(NamedTuple):
    """What a layer's own arithmetic loses.

    Parameters
    ----------
    summed, stored : float
        Relative to its sum of magnitudes: where the result stays float32, and as it is stored.
    least : float
        However small the result.
    """

    summed: float
    stored: float
    least: float

    def bound(self, total: Float64, carried: Float64, activation: Activation = "none") -> Float64:
        """Bound errors by the sum of magnitudes, and by what errors before the layer become."""
        sums = self.stored * total + (1 + self.stored) * carried
        always, relative = losses(activation)
        own = (always + relative * (total + carried)) * UNIT_ROUNDOFF
        return steepest(activation) * sums + own + self.least


@singledispatch
def _bound(_layer: Layer, _known: _Known, _loss: _Loss) -> Float64 | None:
    return None


@_bound.register(Conv2d)
@_bound.register(ConvTranspose2d)
@_bound.register(Dense)
def _product_bound(layer: Conv2d | ConvTranspose2d | Dense, known: _Known, loss: _Loss) -> Float64:
    (source,) = layer.inputs
    magnitudes, offsets = _magnitudes(layer, known.weights)
    none = {name: np.zeros_like(offset) for name, offset in offsets.items()}
    linear = dataclasses.replace(layer, activation="none")
    total = reference.run_layer(linear, {**magnitudes, **offsets}, known.magnitude(source))
    carried = reference.run_layer(linear, {**magnitudes, **none}, known.error(source))
    return loss.bound(total, carried, layer.activation)


@_bound.register(GlobalAvgPool)
def _pool_bound(layer: GlobalAvgPool, known: _Known, loss: _Loss) -> Float64:
    (source,) = layer.inputs
    total = reference.run_layer(layer, {}, known.magnitude(source))
    return loss.bound(total, reference.run_layer(layer, {}, known.error(source)))


@_bound.register(Activate)
def _activate_bound(layer: Activate, known: _Known, loss: _Loss) -> Float64:
    (source,) = layer.inputs
    return loss.bound(known.magnitude(source), known.error(source), layer.activation)


@_bound.register(Add)
def _add_bound(layer: Add, known: _Known, loss: _Loss) -> Float64:
    (x, y), (off_x, off_y) = map(known.magnitude, layer.inputs), map(known.error, layer.inputs)
    return loss.bound(x + y, off_x + off_y)


@_bound.register(Scale)
def _scale_bound(layer: Scale, known: _Known, loss: _Loss) -> Float64:
    (x, y), (off_x, off_y) = map(known.magnitude, layer.inputs), map(known.error, layer.inputs)
    return loss.bound(x * y, x * off_y + y * off_x + off_x * off_y)


@_bound.register(Product)
def _tensors_bound(layer: Product, known: _Known, loss: _Loss) -> Float64:
    magnitudes, errors = ([*map(of, layer.inputs)] for of in (known.magnitude, known.error))
    (x, y), (off_x, off_y) = magnitudes, errors
    carried = layer.run(x, off_y) + layer.run(off_x, y) + layer.run(off_x, off_y)
    return loss.bound(np.abs(layer.run(x, y)), np.abs(carried))


@_bound.register(Copy)
def _copy_bound(layer: Copy, known: _Known, _loss: _Loss) -> Float64:
    return layer.run(known.error(layer.inputs[0]))


@_bound.register(Moves)
def _moves_bound(layer: Moves, known: _Known, _loss: _Loss) -> Float64:
    return dataclasses.replace(layer, fill=0.0).run(*map(known.error, layer.inputs))


@_bound.register(Elementwise)
def _elementwise_bound(layer: Elementwise, known: _Known, loss: _Loss) -> Float64:
    (x, y), (off_x, off_y) = map(known.magnitude, layer.inputs), map(known.error, layer.inputs)
    if layer.operator == "Mul":
        return loss.bound(x * y, x * off_y + y * off_x + off_x * off_y)
    return loss.bound(x + y, off_x + off_y)


@_bound.register(Window)
def _window_bound(layer: Window, known: _Known, loss: _Loss) -> Float64:
    (source,) = layer.inputs
    carried = layer.run(known.error(source))
    if layer.kind == "max":
        return carried
    return loss.bound(layer.run(known.magnitude(source)), carried)


@_bound.register(Softmax)
def _softmax_bound(layer: Softmax, known: _Known, loss: _Loss) -> Float64:
    (source,) = layer.inputs
    most = largest(known.magnitude(source))
    relative = 2 * known.error(source).max() + loss.summed + 2 * most * UNIT_ROUNDOFF
    return known.magnitude(layer.name) * math.expm1(relative)


@_bound.register(LpNormalization)
def _row_bound(layer: LpNormalization, known: _Known, loss: _Loss) -> Float64:
    (source,) = layer.inputs
    y, norms = known.magnitude(layer.name), row_lengths(known.magnitude(source))
    return loss.summed * y + (1 + loss.summed) * _turned(norms, y, known.error(source))


@_bound.register(LayerNorm)
def _layer_norm_bound(layer: LayerNorm, known: _Known, loss: _Loss) -> Float64:
    """Bound what an error of the mean, and of what is left, becomes over the deviation."""
    (source,) = layer.inputs
    gamma, beta = (np.abs(known.weights[f"{layer.name}.{part}"]) for part in ("weight", "bias"))
    x, off = np.asarray(known.values[source], np.float64), known.error(source)
    with np.errstate(invalid="ignore"):
        away = np.abs(x - x.mean(axis=1, keepdims=True))
        spread = np.sqrt(np.mean(away**2, axis=1, keepdims=True) + layer.epsilon)
        lost = loss.summed * (np.abs(x).mean(axis=1, keepdims=True) + away)
        lost += off + off.mean(axis=1, keepdims=True)
        moved = np.sqrt(np.mean(lost**2, axis=1, keepdims=True)) / spread + loss.summed
        left = np.maximum(1 - moved, np.finfo(np.float64).tiny)
        scaled = (lost + away * moved) / spread / left
        # No element is further from its mean than that many deviations.
        scaled = np.minimum(scaled, 2 * math.sqrt(x.shape[1]))
        y = gamma * (away / spread + scaled) + beta
        return np.asarray(gamma * scaled + loss.summed * y + loss.least)


def _turned(norms: Float64, y: Float64, error: Float64) -> Float64:
    """Bound how far rows of length 1, `y`, move where what they were made of is off by `error`."""
    off = row_lengths(error)
    left = np.maximum(norms - off, np.finfo(np.float64).tiny)
    # No two numbers of such rows are further apart than 2; what is exact stays where it is.
    moved = (error + y * off[:, None]) / left[:, None]
    return np.asarray(np.minimum(moved, 2.0), np.float64)


_SUMS = frozenset(
    (
        *("Add", "AveragePool", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool", "MatMul"),
        *("Mean", "ReduceMean", "ReduceSum", "Sum"),
    )
)
"""Operators that only add products of their inputs; given magnitudes, they return their sum."""


def _sums_bound(
    layer: Operator, weights: Weights, values: Mapping[str, NDArray[Any]], stored: str
) -> Float64 | None:
    """Bound the error of a sum whose terms may cancel, such as the mean of an image around 0.

    The operator's arithmetic is not known here. The error is therefore END_TO_END, but
    relative to the sum of the terms' magnitudes.
    """
    if layer.operator not in _SUMS or layer.halves:
        return None
    magnitudes = {name: np.abs(weights[name]) for name in layer.parameters}
    try:
        total = layer.run(magnitudes, *(np.abs(values[name]) for name in layer.inputs))
    except UnjudgedError:
        return None
    return END_TO_END[stored] * np.asarray(total, np.float64)


def _magnitudes(
    layer: Layer, weights: Weights
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Return the magnitudes of a layer's weights: its factors, and the terms that it adds."""
    factors: dict[str, NDArray[Any]] = {}
    terms: dict[str, NDArray[Any]] = {}
    for name in layer.parameters:
        value = np.abs(np.asarray(weights[name], np.float64))
        if name.endswith(".mean"):
            terms[name] = -value  # batch norm subtracts it
        elif name.endswith((".bias", ".beta")):
            terms[name] = value
        else:
            factors[name] = value
    return factors, terms
