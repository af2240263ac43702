"""Tolerances: how far a result in float32 or float16 may be from the float64 reference.

- Usual: an inner product of K terms in any order has a relative error that grows
  as sqrt(K) u, u = 2**-24, with high probability (Higham and Mary, "A new approach
  to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41, 2019).
- Where that is exceeded because large terms cancel, the guaranteed bound decides
  (:mod:`tvm_mobilenet.verify.bound`).
- An operator of TVM's own may lose END_TO_END, whatever it computes. One that computes in
  float16 sums in it too: sqrt(K) u with u = 2**-11, and no more than HALVES_LOSE.
- Where weights and maps are stored as float16, sums are float32 still; each weight and each
  result is rounded once more, to u = 2**-11, or where it is subnormal by 2**-25.
- But where a processor adds up products in float16, a number of them at most at a time, a sum of
  K terms is rounded min(K, that number) times to u = 2**-11, and once more as it begins with a
  bias that is rounded, before it goes on in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.models.layer_norm import LayerNorm
from tvm_mobilenet.models.layers import LpNormalization
from tvm_mobilenet.models.over_pixels import InstanceNorm
from tvm_mobilenet.models.products import Product
from tvm_mobilenet.models.resized import Resized
from tvm_mobilenet.models.spec import (
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Operator,
    Softmax,
)
from tvm_mobilenet.models.transposed import ConvTranspose2d
from tvm_mobilenet.models.windows import Window

END_TO_END_TOLERANCE = 1e-5
"""Norm-wise relative error of the output against the float64 reference."""

END_TO_END = {"float32": END_TO_END_TOLERANCE, "float16": 1e-2, "bfloat16": 8e-2}
"""The same by the type in which maps and weights are stored. The reference itself, rounded to
float16 where a network is, has errors of 0.7 to 1.0e-3 in the logits of V1, V2 and V3 (seeded)."""

WIDEST = {"float32": 1e-3, "float16": 5e-2, "bfloat16": 0.4}
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

UNIT_ROUNDOFF = 2.0**-24
# sqrt(K) u holds with probability 1 - 2 exp(-c**2 / 2) for this factor c: 0.9993.
_CONFIDENCE = 4.0
# Roundings of one element beside its sum: batch norm folded into a weight (scale, quotient,
# product), the bias folded and added, one for each padded or split accumulator.
EPILOGUE = 8
STORED = {"float32": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}
# A weight, a result, and one for a result that passes between layers of one kernel.
STORES = 3

Weights = Mapping[str, NDArray[Any]]
Float64 = NDArray[np.float64]


def halves_of(layer: Layer, half_products: int) -> int:
    """Return how often a term of a layer's sum is rounded to float16 as it is added up.

    Parameters
    ----------
    half_products : int
        Products that are added up so at most; 0 where all sums are float32.
    """
    if not half_products or not isinstance(layer, Conv2d | ConvTranspose2d | Dense):
        return 0
    return min(terms_of(layer), half_products) + 1


@singledispatch
def terms_of(_layer: Layer) -> int:
    """Return the number of terms of the sum that gives one output element."""
    return 1


@terms_of.register(Operator)
def _operator_terms(layer: Operator) -> int:
    count = math.prod(layer.out_shape)
    return max(1, layer.macs // count, math.prod(layer.in_shape) // count)


@terms_of.register(Conv2d)
@terms_of.register(Dense)
@terms_of.register(Product)
def _product_terms(layer: Conv2d | Dense | Product) -> int:
    return max(1, layer.macs // math.prod(layer.out_shape))


@terms_of.register(ConvTranspose2d)
def _transposed_terms(layer: ConvTranspose2d) -> int:
    # What an output pixel of any phase sums, at most.
    taps = (-(-k // s) for k, s in zip(layer.kernel, layer.strides, strict=True))
    return math.prod(taps) * layer.weight_shape[1]


@terms_of.register(Window)
def _window_terms(layer: Window) -> int:
    return math.prod(layer.kernel)


@terms_of.register(Resized)
def _resized_terms(layer: Resized) -> int:
    return sum(table.at.shape[1] for table in layer.tables())


@terms_of.register(GlobalAvgPool)
@terms_of.register(InstanceNorm)
def _map_terms(layer: GlobalAvgPool | InstanceNorm) -> int:
    return math.prod(layer.in_shape[2:])


@terms_of.register(Softmax)
@terms_of.register(LpNormalization)
@terms_of.register(LayerNorm)
def _row_terms(layer: Softmax | LpNormalization | LayerNorm) -> int:
    return layer.in_shape[-1]


def tolerance_behind(
    layer: Layer,
    before: float,
    inputs: Iterable[NDArray[Any]],
    stored: str = "float32",
    *,
    exact_sums: bool = False,
    half_products: int = 0,
) -> float:
    """Return the relative tolerance of a layer's output whose input had tolerance `before`.

    With `exact_sums` the numbers are float32, but sums are computed in float64. `half_products`
    as for :func:`halves_of`.
    """
    terms = (0 if exact_sums else terms_of(layer)) + EPILOGUE
    halves = _likely(halves_of(layer, half_products), STORED["float16"])
    return _own(layer, terms, stored) + halves + _carried(layer, before, inputs)


def _likely(terms: int, unit: float) -> float:
    return _CONFIDENCE * math.sqrt(terms) * unit


@singledispatch
def _own(_layer: Layer, terms: int, stored: str) -> float:
    """Return what the arithmetic of a layer loses."""
    return _likely(terms, UNIT_ROUNDOFF) + _likely(STORES, STORED[stored])


@_own.register(Operator)
def _operator(layer: Operator, terms: int, stored: str) -> float:
    if not layer.halves:
        return END_TO_END[stored]  # its arithmetic is not known here
    if layer.operator in MOVES:
        return ROUNDED_ONCE
    return min(_likely(terms, STORED["float16"]), HALVES_LOSE)


@_own.register(Softmax)
@_own.register(LpNormalization)
@_own.register(LayerNorm)
def _row(_layer: Softmax | LpNormalization | LayerNorm, terms: int, _stored: str) -> float:
    return _likely(terms, UNIT_ROUNDOFF)  # their input and output are float32


@singledispatch
def _carried(_layer: Layer, before: float, _inputs: Iterable[NDArray[Any]]) -> float:
    """Return what becomes of an error before a layer."""
    return before


@_carried.register(Softmax)
def _softmax(_layer: Softmax, before: float, inputs: Iterable[NDArray[Any]]) -> float:
    # exp turns an absolute error of its argument into a relative one of its value.
    return max(map(largest, inputs)) * (before * _CONFIDENCE + 2 * UNIT_ROUNDOFF)


@_carried.register(LpNormalization)
def _length(layer: LpNormalization, before: float, inputs: Iterable[NDArray[Any]]) -> float:
    # What is little of all rows may be much of a short one.
    norms = np.concatenate([row_lengths(x) for x in inputs])
    norms = norms[np.isfinite(norms) & (norms > 0)]
    if not norms.size:
        return before
    shortest = max(float(norms.min()), layer.least)
    return before * (math.sqrt(float(np.mean(norms**2))) / shortest)


@_carried.register(LayerNorm)
def _deviation(layer: LayerNorm, before: float, inputs: Iterable[NDArray[Any]]) -> float:
    # What is little of a row may be much of its distance from its mean; own sums lose it, too.
    (x,) = inputs
    with np.errstate(invalid="ignore"):
        ratios = row_lengths(x) / np.sqrt(x.shape[1] * (np.var(x, axis=1) + layer.epsilon))
    ratios = ratios[np.isfinite(ratios)]
    lost = before + _likely(terms_of(layer) + EPILOGUE, UNIT_ROUNDOFF)
    return lost * max(1.0, float(ratios.max(initial=1.0)))


def largest(x: NDArray[Any]) -> float:
    """Return the largest finite magnitude; elements masked by -inf contribute exactly 0."""
    return float(np.abs(x).max(initial=0.0, where=np.isfinite(x)))


def row_lengths(x: NDArray[Any]) -> Float64:
    """Return the Euclidean norm of each row."""
    return np.asarray(np.linalg.norm(x, axis=1), np.float64)
