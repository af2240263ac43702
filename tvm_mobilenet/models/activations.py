"""What each activation computes, in NumPy: for the reference and the initialisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tvm_mobilenet.errors import InvalidModelError
from tvm_mobilenet.models.layers import LIMITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tvm_mobilenet.models.spec import Activation

F = TypeVar("F", bound="np.floating[Any]")


def activate(
    values: NDArray[F], activation: Activation, out: NDArray[F] | None = None
) -> NDArray[F]:
    """Apply an activation element by element; NaN stays NaN.

    Parameters
    ----------
    out : ndarray, optional
        Array of the same shape for the result; it may be `values` itself.

    Returns
    -------
    ndarray
        `out` if given, else a new array.

    Raises
    ------
    InvalidModelError
        If the activation is not one of ours.
    """
    if activation == "none":
        return np.asarray(np.positive(values, out=out))
    if activation in ("hardsigmoid", "hardswish"):
        gate = np.clip(values + 3.0, 0.0, 6.0) / 6.0
        factor = values if activation == "hardswish" else 1.0
        return np.asarray(np.multiply(gate, factor, out=out))
    if activation not in LIMITS:
        raise InvalidModelError(f"unknown activation {activation!r}")
    low, high = LIMITS[activation]
    return np.clip(values, low, high, out=out)
