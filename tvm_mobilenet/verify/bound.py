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
from tvm_mobilenet.models.axes import Turned
from tvm_mobilenet.models.elements import Elementwise, Slopes
from tvm_mobilenet.models.layer_norm import LayerNorm
from tvm_mobilenet.models.layers import LpNormalization
from tvm_mobilenet.models.moves import Moves
from tvm_mobilenet.models.over_pixels import GlobalMax, InstanceNorm
from tvm_mobilenet.models.products import Product
from tvm_mobilenet.models.resized import Resized
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
    halves_of,
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
    half_products: int = 0,
) -> Float64 | None:
    """Bound the error of every element of the last of `layers`, or None if none is known.

    `stored` is the type of maps and weights; of products, `half_products` at most are added up in
    float16 before their sum goes on in float32.
    """
    if isinstance(layers[0], Operator):
        return _sums_bound(layers[0], weights, values, stored)
    known = _Known(weights, values, {})
    for layer in layers:
        roundings = ((0 if exact_sums else terms_of(layer)) + EPILOGUE) * UNIT_ROUNDOFF
        halves, least = halves_of(layer, half_products), SUBNORMAL[stored]
        roundings += halves * STORED["float16"]
        if halves:  # where a sum is subnormal, each of its terms may cost as much
            least += (terms_of(layer) + 1) * SUBNORMAL["float16"]
        both = _gamma(roundings), _gamma(roundings + STORES * STORED[stored])
        bound = _bound(layer, known, _Loss(*both, least))
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


@_bound.register(Turned)
def _turned_bound(layer: Turned, known: _Known, _loss: _Loss) -> Float64:
    (source,) = layer.inputs
    return layer.run(known.error(source))


@_bound.register(Resized)
def _resized_bound(layer: Resized, known: _Known, loss: _Loss) -> Float64:
    (source,) = layer.inputs
    magnitude, error = known.magnitude(source), known.error(source)
    return loss.bound(layer.run(magnitude, absolute=True), layer.run(error, absolute=True))


@_bound.register(GlobalMax)
def _global_max_bound(layer: GlobalMax, known: _Known, _loss: _Loss) -> Float64:
    (source,) = layer.inputs
    return layer.run(known.error(source))


@_bound.register(InstanceNorm)
def _instance_norm_bound(layer: InstanceNorm, known: _Known, loss: _Loss) -> Float64:
    """Follow errors through mean, rest, variance and quotient, one after the other."""
    (source,) = layer.inputs
    x, off = np.asarray(known.values[source], np.float64), known.error(source)
    weight = np.abs(known.weights[f"{layer.name}.weight"])[:, None, None]

    def mean(of: Float64) -> Float64:
        return np.asarray(of.mean(axis=(2, 3), keepdims=True))

    rest = np.abs(x - mean(x))
    off_rest = off + mean(off) + loss.summed * mean(np.abs(x)) + UNIT_ROUNDOFF * rest
    variance = mean(rest**2) + layer.epsilon
    off_variance = loss.summed * variance + mean(2 * rest * off_rest + off_rest**2)
    # 1 / sqrt(1 - r) - 1 is at most r where r is below a half.
    lost = off_variance / variance
    lost = np.where(lost < 0.5, lost, np.inf)
    scaled = weight / np.sqrt(variance)
    own = scaled * (off_rest + rest * (lost + EPILOGUE * UNIT_ROUNDOFF))
    bias = np.abs(known.weights[f"{layer.name}.bias"])[:, None, None]
    return np.asarray(1.01 * own + UNIT_ROUNDOFF * bias)


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
    x, *others = map(known.magnitude, layer.inputs)
    off_x, *off_others = map(known.error, layer.inputs)
    y = others[0] if others else np.asarray(abs(layer.number or 0.0))
    off_y = off_others[0] if others else np.zeros(())
    if layer.operator in ("Max", "Min"):
        return np.maximum(off_x, off_y)
    if layer.operator == "Mul":
        return loss.bound(x * y, x * off_y + y * off_x + off_x * off_y)
    if layer.operator == "PRelu":
        steep = np.maximum(y, 1.0)
        return loss.bound(x * steep, x * off_y + steep * off_x + off_x * off_y)
    if layer.operator == "Div":
        if layer.swapped:
            x, y, off_x, off_y = y, x, off_y, off_x
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient, left = x / y, np.maximum(y - off_y, 0.0)
            carried = np.nan_to_num((off_x + quotient * off_y) / left, nan=np.inf)
            return loss.bound(quotient, np.where((off_x == 0) & (off_y == 0), 0.0, carried))
    return loss.bound(x + y, off_x + off_y)


@_bound.register(Slopes)
def _slopes_bound(layer: Slopes, known: _Known, loss: _Loss) -> Float64:
    (source,) = layer.inputs
    slope = np.abs(np.asarray(known.weights[f"{layer.name}.slope"], np.float64))
    steep = np.maximum(slope, 1.0)[:, None, None]
    return loss.bound(steep * known.magnitude(source), steep * known.error(source))


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
    norms = np.maximum(norms, layer.least)
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
