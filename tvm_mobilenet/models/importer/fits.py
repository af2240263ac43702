"""Which activation a function of one number is, by its values on a grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.common.functions import KINDS, Activation, spelled
from tvm_mobilenet.models.activations import activate

Float64 = NDArray[np.float64]

# Every piece of the functions in question has points, and their usual corners, ±3 and 6, as well.
GRID: Float64 = np.concatenate([np.arange(-1024, 1025) / 64.0, [-1e38, -1e6, -1e2, 1e2, 1e6, 1e38]])
_AGREES = 1e-6
"""Relative to 1 + |value|: constants such as 1/6 are float32 in the file."""

_STEP = 1 / 64

_ENOUGH = 64
"""Points of the grid, a unit of what is read."""

_KNOWN: dict[Activation, Float64] = {
    name: activate(GRID, name)
    for name, kind in KINDS.items()
    if not kind.parameters and not kind.by_channel
}


def fitted_within(values: Float64, low: float, high: float) -> Activation | None:
    """Return the activation without parameters with these values on :data:`GRID` from low to high.

    There must be enough of the grid between them to tell one from another.
    """
    inside = (low <= GRID) & (high >= GRID)
    if np.count_nonzero(inside) < _ENOUGH or not np.isfinite(values).all():
        return None
    agreeing = (name for name, known in _KNOWN.items() if _agree(values[inside], known[inside]))
    return next(agreeing, None)


def fitted(values: Float64) -> Activation | None:
    """Return the activation with these values on :data:`GRID`, None if it is none of ours."""
    if values.shape != GRID.shape or not np.isfinite(values).all():
        return None
    for name, known in _KNOWN.items():
        if _agree(values, known):
            return name
    for name, parameters in _guesses(values):
        if all(map(math.isfinite, parameters)) or name == "clip":
            activation = spelled(name, *parameters)
            if _agree(values, activate(GRID, activation)):
                return activation
    return None


def _agree(values: Float64, others: Float64) -> bool:
    finite = np.isfinite(others).all()
    return bool(finite and np.all(np.abs(values - others) <= _AGREES * (1 + np.abs(others))))


def _guesses(values: Float64) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Yield kinds with parameters, and what these must be if the function is of that kind."""

    def at(x: float) -> float:
        return float(values[np.flatnonzero(x == GRID)[0]])

    low, high = at(-1e38), at(1e38)
    unlimited = (-math.inf if low == -1e38 else low, math.inf if high == 1e38 else high)
    if unlimited[0] <= unlimited[1]:
        yield "clip", unlimited
    yield "leakyrelu", (-at(-1.0),)
    yield "elu", (-at(-100.0),)
    if low < 0 < at(1.0):
        yield "celu", (-low,)
        yield "selu", (-low / at(1.0), at(1.0))
    if 0.51 < at(1.0) < 0.99:  # not x / 2, whose beta would be 0
        yield "swish", (math.log(at(1.0) / (1 - at(1.0))),)
    if 0 < high < 1e37:
        yield from _gates("gate", at, high)
    yield from _gates("gated", lambda x: at(x) / x, high / 1e38)


def _gates(
    name: str, gate: Callable[[float], float], top: float
) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """Yield a gate by two of its values beside 0, if it is neither 0 nor at its top there."""
    one, other = gate(-_STEP), gate(_STEP)
    if 0 < one < other < top:
        yield name, ((other - one) / (2 * _STEP), (one + other) / 2, top)
