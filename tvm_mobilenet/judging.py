"""Who judges a layer, and what it may be off by.

Our layers are judged by the NumPy reference, operators of an ONNX file by onnx's evaluator as
corrected in :mod:`tvm_mobilenet.models.evaluator`. Where that cannot compute one, or another
result stands against it, onnxruntime is asked, if it is installed: two that agree outvote the
evaluator, and what nobody can compute is not judged. See docs/adr/0020.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet import reference
from tvm_mobilenet.errors import UnjudgedError
from tvm_mobilenet.models.evaluator import ONNX, Evaluation, Judge
from tvm_mobilenet.models.spec import INPUT, Layer, Model, Operator
from tvm_mobilenet.rounding import (
    STRASSEN_GROWTH,
    guaranteed_bound,
    strassen_bound,
    tolerance_behind,
)

REFERENCE, NOBODY = "reference", ""
"""Who judges our own layers, and what nobody can."""

Weights = Mapping[str, NDArray[Any]]
Values = Mapping[str, NDArray[Any]]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found about a layer, or several of one kernel.

    Attributes
    ----------
    alone : float
        Norm-wise relative error on the inputs that they had; NaN where nobody judges.
    tolerance : float
        What it may be.
    passed : bool
        Whether nothing speaks against them.
    judge : str
        Who says so: ``"reference"``, ``"onnx"``, ``"onnxruntime"``, or ``""`` for nobody.
    """

    alone: float
    tolerance: float
    passed: bool
    judge: str


NOT_JUDGED = Verdict(math.nan, math.nan, True, NOBODY)
"""Neither right nor wrong."""


def judge(
    layers: tuple[Layer, ...],
    weights: Weights,
    known: Values,
    got: NDArray[Any],
    *,
    stored: str = "float32",
    strassen: bool = False,
) -> Verdict:
    """Judge what layers computed from inputs that are known.

    Parameters
    ----------
    layers : tuple of Layer
        Each reads what is known, or one before it.
    known : mapping of str to ndarray
        What they read, by layer.
    got : ndarray
        What the last of them computed.
    stored : str
        What its kernel stores maps and weights as.
    strassen : bool
        Whether it takes seven products for eight.
    """
    foreign = any(isinstance(layer, Operator) for layer in layers)
    judges: tuple[Judge, ...] = ("onnx", "onnxruntime")
    verdicts = []
    for by in judges:
        try:
            values = _computed(layers, weights, known, by)
        except UnjudgedError:
            continue
        found = compare(layers, weights, values, got, stored=stored, strassen=strassen)
        verdicts.append(Verdict(*found, by if foreign else REFERENCE))
        if verdicts[-1].passed or not foreign:
            return verdicts[-1]
    return verdicts[0] if verdicts else NOT_JUDGED


def compute(layer: Layer, weights: Weights, known: Values, by: Judge = "onnx") -> NDArray[Any]:
    """Compute one layer from what is known.

    Parameters
    ----------
    by : {"onnx", "onnxruntime"}
        Who is to, of operators that are not ours.

    Raises
    ------
    UnjudgedError
        That one cannot, or what the layer reads is not known.
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
    strassen: bool = False,
    exact_sums: bool = False,
) -> tuple[float, float, bool]:
    """Return error, tolerance, and whether the one is within the other.

    Parameters
    ----------
    values : mapping of str to ndarray
        What they read, and what they should compute.
    got : ndarray
        What the last of them computed.
    stored, strassen
        As for :func:`judge`.
    exact_sums : bool
        Whether `got` was computed in float64, from constants of float32.
    """
    tolerance = 0.0
    for layer in layers:
        inputs = [values[name] for name in layer.inputs]
        tolerance = tolerance_behind(layer, tolerance, inputs, stored, exact_sums=exact_sums)
    if strassen:
        tolerance *= STRASSEN_GROWTH
    want = np.asarray(values[layers[-1].name], np.float64)
    alone = reference.relative_error(got, want)
    if alone <= tolerance or not math.isfinite(alone):
        return alone, tolerance, alone <= tolerance
    bound = (
        strassen_bound(layers, weights, values)
        if strassen
        else guaranteed_bound(layers, weights, values, stored, exact_sums=exact_sums)
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


@dataclass(frozen=True, slots=True)
class Reading:
    """A model held against the file that it was read from.

    Attributes
    ----------
    values : dict of str to ndarray
        What each layer should compute, float64; by the file where that has its tensor.
    verdicts : dict of str to Verdict
        By layer: whether it is what the file says.
    """

    values: dict[str, NDArray[Any]]
    verdicts: dict[str, Verdict]


def read_against(model: Model, weights: Weights, x: NDArray[Any], found: Evaluation) -> Reading:
    """Hold every layer of a model against what the file computes.

    Each layer is given what the *file* computes before it, so that its difference is its own
    and is not magnified: what is allowed is what constants of float32 may be off by.

    Parameters
    ----------
    x : ndarray
        Input.
    found : Evaluation
        What the file makes of it, by layer.
    """
    own: dict[str, NDArray[Any]] = {}
    values = ChainMap(found.values, own, {INPUT: x})
    behind: dict[str, tuple[Layer, ...]] = {}
    verdicts: dict[str, Verdict] = {}
    for layer in model.layers:
        # Layers since those that the file has a tensor for, in order, each once.
        before = (before for name in layer.inputs for before in behind.get(name, ()))
        chain = (*dict.fromkeys(before), layer)
        try:
            want = _by_any(layer, weights, values)
        except UnjudgedError:
            verdicts[layer.name] = NOT_JUDGED
            continue
        own[layer.name] = want
        if layer.name not in found.values:
            behind[layer.name] = chain
            continue
        inside = ChainMap({one.name: own[one.name] for one in chain}, *values.maps)
        told = compare(chain, weights, inside, found.values[layer.name], exact_sums=True)
        foreign = any(isinstance(one, Operator) for one in chain)
        verdicts[layer.name] = Verdict(*told, ONNX if foreign else REFERENCE)
    return Reading({**own, **found.values}, verdicts)


def _by_any(layer: Layer, weights: Weights, values: Values) -> NDArray[Any]:
    try:
        return compute(layer, weights, values)
    except UnjudgedError:
        return compute(layer, weights, values, "onnxruntime")
