"""What each activation computes, in NumPy: for the reference and the initialisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tvm_mobilenet.common.functions import Activation, clips, parsed

if TYPE_CHECKING:
    from numpy.typing import NDArray

F = TypeVar("F", bound="np.floating[Any]")


def activate(
    values: NDArray[F], activation: Activation, out: NDArray[F] | None = None
) -> NDArray[F]:
    """Apply an activation element by element; NaN stays NaN.

    An infinity gives what the operators give by which ONNX files spell the function: a gate of
    0 times infinity, which is NaN.

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
    limits = clips(activation)
    if limits is not None:
        return np.clip(values, *limits, out=out)
    name, parameters = parsed(activation)
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.asarray(_FUNCTIONS[name](values, *parameters), values.dtype)
    return found if out is None else np.positive(found, out=out)


def _gate(x: Any, slope: float, offset: float, top: float) -> Any:
    return np.clip(slope * x + offset, 0.0, top)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _error_function(x: Any) -> Any:
    return np.frompyfunc(math.erf, 1, 1)(x).astype(x.dtype)


def _gelu_tanh(x: Any) -> Any:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _below_zero(x: Any, negative: Any) -> Any:
    return np.where(x < 0, negative, x)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "none": np.positive,
    "hardsigmoid": lambda x: np.clip(x + 3.0, 0.0, 6.0) / 6.0,
    "hardswish": lambda x: np.clip(x + 3.0, 0.0, 6.0) / 6.0 * x,
    "gate": _gate,
    "gated": lambda x, *gate: x * _gate(x, *gate),
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
    "swish": lambda x, beta: x * _sigmoid(beta * x),
    "gelu": lambda x: 0.5 * x * (1 + _error_function(x * math.sqrt(0.5))),
    "gelutanh": _gelu_tanh,
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0.0)),
    "tanh": np.tanh,
    "softplus": lambda x: np.logaddexp(x, 0.0),
    "elu": lambda x, alpha: _below_zero(x, alpha * np.expm1(np.minimum(x, 0))),
    "selu": lambda x, alpha, gamma: gamma * _below_zero(x, alpha * np.expm1(np.minimum(x, 0))),
    "celu": lambda x, alpha: _below_zero(x, alpha * np.expm1(np.minimum(x, 0) / alpha)),
    "leakyrelu": lambda x, alpha: _below_zero(x, alpha * x),
}
