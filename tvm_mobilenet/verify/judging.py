"""Compares what a kernel computed with the judge of its layers: whose result counts, and how far.

Our layers are judged by the NumPy reference, operators of an ONNX file by onnx's evaluator as
corrected in :mod:`tvm_mobilenet.models.evaluator`. Where that evaluator cannot compute an
operator, or a kernel's result differs from its own, onnxruntime is asked, if it is installed: two
results that agree outvote the evaluator. What neither can compute is not judged. See docs/adr/0020.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import UnjudgedError
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.evaluator import Judge
from tvm_mobilenet.models.spec import Layer, Operator
from tvm_mobilenet.verify.bound import guaranteed_bound
from tvm_mobilenet.verify.rounding import tolerance_behind

REFERENCE, NOBODY = "reference", ""
"""The judge of our own layers, and of what nobody can judge."""

Weights = Mapping[str, NDArray[Any]]
Values = Mapping[str, NDArray[Any]]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for a layer, or for several of one kernel.

    Attributes
    ----------
    alone : float
        Norm-wise relative error on the inputs that the layers had; NaN if they are not judged.
    tolerance : float
        The largest error that is allowed.
    passed : bool
        Whether the error is allowed; true if they are not judged.
    judge : str
        ``"reference"``, ``"onnx"``, ``"onnxruntime"``, or ``""`` if they are not judged.
    """

    alone: float
    tolerance: float
    passed: bool
    judge: str


def stored_as(call: Mapping[str, Any]) -> str:
    """Return the type of a kernel's maps and weights, from its record in a manifest."""
    return str(call.get("stored", "float32"))


NOT_JUDGED = Verdict(math.nan, math.nan, True, NOBODY)
"""The verdict on what nobody can compute."""


def judge(
    layers: tuple[Layer, ...],
    weights: Weights,
    known: Values,
    got: NDArray[Any],
    *,
    stored: str = "float32",
    half_products: int = 0,
) -> Verdict:
    """Judge what the layers of a kernel computed from known inputs.

    Parameters
    ----------
    layers : tuple of Layer
        Layers that read known tensors, or the output of a layer before them.
    known : mapping of str to ndarray
        The known tensors, by layer.
    got : ndarray
        The kernel's output, which is that of the last layer.
    stored : str
        Type in which the kernel stores maps and weights.
    half_products : int
        Products that it adds up in float16 at most, before their sum goes on in float32.
    """
    foreign = any(isinstance(layer, Operator) for layer in layers)
    judges: tuple[Judge, ...] = ("onnx", "onnxruntime")
    verdicts = []
    for by in judges:
        try:
            values = _computed(layers, weights, known, by)
        except UnjudgedError:
            continue
        found = compare(layers, weights, values, got, stored=stored, half_products=half_products)
        verdicts.append(Verdict(*found, by if foreign else REFERENCE))
        if verdicts[-1].passed or not foreign:
            return verdicts[-1]
    return verdicts[0] if verdicts else NOT_JUDGED


def compute(layer: Layer, weights: Weights, known: Values, by: Judge = "onnx") -> NDArray[Any]:
    """Compute one layer from known tensors.

    Parameters
    ----------
    by : {"onnx", "onnxruntime"}
        The evaluator of operators that are not ours.

    Raises
    ------
    UnjudgedError
        The evaluator cannot compute the layer, or an input is not known.
    """
    if missing := [name for name in layer.inputs if name not in known]:
        raise UnjudgedError(f"{layer.name!r} is computed from {missing[0]!r}")
    inputs = [known[name] for name in layer.inputs]
    if isinstance(layer, Operator):
        return layer.run(weights, *inputs, by=by)
    return reference.run_layer(layer, weights, *inputs)


def _computed(layers: tuple[Layer, ...], weights: Weights, known: Values, by: Judge) -> Values:
    own: dict[str, NDArray[Any]] = {}
    values = ChainMap(own, dict(known))
    for layer in layers:
        own[layer.name] = compute(layer, weights, values, by)
    return values


def compare(
    layers: tuple[Layer, ...],
    weights: Weights,
    values: Values,
    got: NDArray[Any],
    *,
    stored: str = "float32",
    exact_sums: bool = False,
    half_products: int = 0,
) -> tuple[float, float, bool]:
    """Return error, tolerance, and whether the one is within the other.

    Parameters
    ----------
    values : mapping of str to ndarray
        Tensors that the layers read, and those that they should compute.
    got : ndarray
        The output of the last layer, as computed.
    stored, half_products
        As for :func:`judge`.
    exact_sums : bool
        Whether `got` was computed in float64, from constants of float32.
    """
    tolerance = 0.0
    for layer in layers:
        inputs = [values[name] for name in layer.inputs]
        tolerance = tolerance_behind(
            layer, tolerance, inputs, stored, exact_sums=exact_sums, half_products=half_products
        )
    want = np.asarray(values[layers[-1].name], np.float64)
    alone = reference.relative_error(got, want)
    if alone <= tolerance or not math.isfinite(alone):
        return alone, tolerance, alone <= tolerance
    bound = guaranteed_bound(
        layers, weights, values, stored, exact_sums=exact_sums, half_products=half_products
    )
    if bound is None:
        return alone, tolerance, False
    # Where a number is not finite, or its bound, nothing but the same will do.
    sure = np.isfinite(want) & np.isfinite(bound)
    off = np.abs(np.subtract(got, want, where=sure, out=np.zeros(want.shape)))
    same = np.equal(got, want) | (np.isnan(got) & np.isnan(want))
    if not bool(np.all(np.where(sure, off <= bound, same))):
        return alone, tolerance, False
    length = float(np.linalg.norm(want[sure]))
    return alone, max(tolerance, float(np.linalg.norm(bound[sure])) / length), True


def by_any(layer: Layer, weights: Weights, values: Values) -> NDArray[Any]:
    """Compute one layer from known tensors, by the evaluator that can."""
    try:
        return compute(layer, weights, values)
    except UnjudgedError:
        return compute(layer, weights, values, "onnxruntime")
