"""Tolerances: how far a result in float32 or float16 may be from the float64 reference.

- Usual: an inner product of K terms in any order has a relative error that grows
  as sqrt(K) u, u = 2**-24, with high probability (Higham and Mary, "A new approach
  to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41, 2019).
- Where that is exceeded because large terms cancel, the guaranteed bound decides,
  element by element: |error| <= gamma_K sum |w||x|, gamma_K = K u / (1 - K u)
  (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1).
- An operator of TVM's own may lose END_TO_END, whatever it computes. One that computes in
  float16 sums in it too: sqrt(K) u with u = 2**-11, and no more than HALVES_LOSE.
- Where weights and maps are stored as float16, sums are float32 still; each weight and each
  result is rounded once more, to u = 2**-11, or where it is subnormal by 2**-25.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import UnjudgedError
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.activations import STEEPEST
from tvm_mobilenet.models.layers import LpNormalization
from tvm_mobilenet.models.spec import (
    Activate,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Operator,
    Scale,
    Softmax,
)

END_TO_END_TOLERANCE = 1e-5
"""Norm-wise relative error of the output against the float64 reference."""

END_TO_END = {"float32": END_TO_END_TOLERANCE, "float16": 1e-2}
"""The same by the type in which maps and weights are stored. The reference itself, rounded to
float16 where a network is, has errors of 0.7 to 1.0e-3 in the logits of V1, V2 and V3 (seeded)."""

WIDEST = {"float32": 1e-3, "float16": 5e-2}
"""Largest error of the output that is accepted where the network magnifies rounding. Beyond it
fewer than three digits are left, and comparing whole networks shows nothing."""

HALVES_LOSE = 5e-2
"""Largest error of an operator that computes in float16, however many terms it sums."""

ROUNDED_ONCE = 2.0**-10
"""Largest error where float32 numbers pass through float16 and nothing is computed in it."""

MOVES = frozenset({
    "Cast", "Concat", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice",
    "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
})  # fmt: skip
"""Operators that compute nothing."""

_UNIT_ROUNDOFF = 2.0**-24
# sqrt(K) u holds with probability 1 - 2 exp(-c**2 / 2) for this factor c: 0.9993.
_CONFIDENCE = 4.0
# Roundings of one element beside its sum: batch norm folded into a weight (scale, quotient,
# product), the bias folded and added, one for each padded or split accumulator.
_EPILOGUE = 8
# Roundings of a hard sigmoid, whose value is up to 1 however small its argument.
_GATE = 4 * _UNIT_ROUNDOFF
_STORED = {"float32": 0.0, "float16": 2.0**-11}
_SUBNORMAL = {"float32": 0.0, "float16": 2.0**-25}
# A weight, a result, and one for a result that passes between layers of one kernel.
_STORES = 3

Weights = Mapping[str, NDArray[Any]]
Float64 = NDArray[np.float64]


def _terms(layer: Layer) -> int:
    """Return the number of terms of the sum that gives one output element."""
    if isinstance(layer, Operator):
        count = math.prod(layer.out_shape)
        return max(1, layer.macs // count, math.prod(layer.in_shape) // count)
    if isinstance(layer, Conv2d | Dense):
        return max(1, layer.macs // math.prod(layer.out_shape))
    if isinstance(layer, GlobalAvgPool):
        return math.prod(layer.in_shape[2:])
    if isinstance(layer, Softmax | LpNormalization):
        return layer.in_shape[-1]
    return 1


def tolerance_behind(
    layer: Layer,
    before: float,
    inputs: Iterable[NDArray[Any]],
    stored: str = "float32",
    *,
    exact_sums: bool = False,
) -> float:
    """Return the relative tolerance of a layer's output whose input had tolerance `before`.

    With `exact_sums` the numbers are float32, but sums are computed in float64.
    """
    terms = (0 if exact_sums else _terms(layer)) + _EPILOGUE
    own = _CONFIDENCE * math.sqrt(terms) * _UNIT_ROUNDOFF
    if isinstance(layer, Operator):
        own = END_TO_END[stored]  # its arithmetic is not known here
        if layer.halves and layer.operator in MOVES:
            own = ROUNDED_ONCE
        elif layer.halves:
            own = min(_CONFIDENCE * math.sqrt(terms) * _STORED["float16"], HALVES_LOSE)
    elif not isinstance(layer, Softmax | LpNormalization):  # whose input and output are float32
        own += _CONFIDENCE * math.sqrt(_STORES) * _STORED[stored]
    if isinstance(layer, Softmax):
        # exp turns an absolute error of its argument into a relative one of its value.
        largest = max(_largest(x) for x in inputs)
        return own + largest * (before * _CONFIDENCE + 2 * _UNIT_ROUNDOFF)
    if isinstance(layer, LpNormalization):
        # What is little of all rows may be much of a short one.
        norms = np.concatenate([_norms(x) for x in inputs])
        norms = norms[np.isfinite(norms) & (norms > 0)]
        if norms.size:
            before *= math.sqrt(float(np.mean(norms**2))) / float(norms.min())
    return own + before


def _largest(x: NDArray[Any]) -> float:
    """Return the largest finite magnitude; elements masked by -inf contribute exactly 0."""
    return float(np.abs(x).max(initial=0.0, where=np.isfinite(x)))


def _norms(x: NDArray[Any]) -> Float64:
    """Return the Euclidean norm of each row."""
    return np.asarray(np.linalg.norm(x, axis=1), np.float64)


def _turned(norms: Float64, y: Float64, error: Float64) -> Float64:
    """Bound how far rows of length 1, `y`, move where what they were made of is off by `error`."""
    off = _norms(error)
    left = np.maximum(norms - off, np.finfo(np.float64).tiny)
    # No two numbers of such rows are further apart than 2; what is exact stays where it is.
    moved = (error + y * off[:, None]) / left[:, None]
    return np.asarray(np.minimum(moved, 2.0), np.float64)


def guaranteed_bound(
    layers: tuple[Layer, ...],
    weights: Weights,
    values: Mapping[str, NDArray[Any]],
    stored: str = "float32",
    *,
    exact_sums: bool = False,
) -> Float64 | None:
    """Bound the error of every element of the last of `layers`, or None if none is known.

    The reference itself computes sum |w||x| when it is given magnitudes. `stored` is the type
    of maps and weights.
    """
    errors: dict[str, Float64] = {}
    rounded, least = _STORES * _STORED[stored], _SUBNORMAL[stored]
    for layer in layers:
        if isinstance(layer, Operator):
            return _sums_bound(layer, weights, values, stored) if layer is layers[0] else None
        source = layer.inputs[0]
        x = np.abs(np.asarray(values[source], np.float64))
        error = errors.get(source, np.zeros(x.shape))
        terms = ((0 if exact_sums else _terms(layer)) + _EPILOGUE) * _UNIT_ROUNDOFF
        if not isinstance(layer, Softmax | LpNormalization):
            terms += rounded
        gamma = terms / (1 - terms)
        if isinstance(layer, Softmax):
            relative = 2 * error.max() + gamma + 2 * _largest(x) * _UNIT_ROUNDOFF
            errors[layer.name] = np.abs(values[layer.name]) * math.expm1(relative)
            continue
        if isinstance(layer, LpNormalization):
            y = np.abs(np.asarray(values[layer.name], np.float64))
            errors[layer.name] = gamma * y + (1 + gamma) * _turned(_norms(x), y, error)
            continue
        extra = 0.0
        if isinstance(layer, Activate):
            slope = STEEPEST[layer.activation]
            gate = _GATE if layer.activation == "hardsigmoid" else 0.0
            errors[layer.name] = slope * ((1 + gamma) * error + gamma * x) + gate + least
            continue
        if isinstance(layer, Add | Scale):
            other = layer.inputs[1]
            y = np.abs(np.asarray(values[other], np.float64))
            carried = errors.get(other, np.zeros(y.shape))
            if isinstance(layer, Add):
                sums = gamma * (x + y) + (1 + gamma) * (error + carried)
                errors[layer.name] = sums + least
            else:
                both = x * carried + y * error + error * carried
                errors[layer.name] = gamma * x * y + (1 + gamma) * both + least
            continue
        if isinstance(layer, Conv2d | Dense):
            magnitudes, offsets = _magnitudes(layer, weights)
            slope = STEEPEST[layer.activation]
            extra = _GATE if layer.activation == "hardsigmoid" else 0.0
            linear = dataclasses.replace(layer, activation="none")
            total = reference.run_layer(linear, {**magnitudes, **offsets}, x)
            none = {name: np.zeros_like(offset) for name, offset in offsets.items()}
            carried = reference.run_layer(linear, {**magnitudes, **none}, error)
        elif isinstance(layer, GlobalAvgPool):
            slope = 1.0
            total, carried = (reference.run_layer(layer, {}, part) for part in (x, error))
        else:
            return None
        errors[layer.name] = slope * (gamma * total + (1 + gamma) * carried) + extra + least
    return errors[layers[-1].name]


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

    The operator's arithmetic is not known here. The relative error is therefore that of
    :func:`tolerance_behind`, but relative to the sum of the terms' magnitudes.
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
