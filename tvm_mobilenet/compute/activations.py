"""What each activation computes, in TE; how much float32 loses is in ``common/functions.py``.

What gates its input is NaN at minus infinity, as is 0 times infinity in a file's own operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm import te

try:
    from tvm import tirx
except ImportError:  # as TVM 0.19 calls it
    from tvm import tir as tirx

from tvm_mobilenet.common.functions import Activation, clips, parsed
from tvm_mobilenet.compute.elementary import (
    constant,
    exponential,
    exponential_minus_one,
    logarithm_of_one_plus,
    named,
    normal_error_function,
    one_plus_exponential,
)

# From here on e**x is so large that tanh and softplus are 1 and x, to the last bit.
_FLAT = 20.0


def activate(value: Any, activation: Activation) -> Any:
    """Apply an activation to one element.

    Parameters
    ----------
    value : PrimExpr
        The biased accumulator.
    activation : str
        ReLU is max(x, 0); ReLU6 is min(max(x, 0), 6) (arXiv 1704.04861); hard sigmoid is
        ReLU6(x + 3) / 6, hard swish x times that (arXiv 1905.02244, section 5.2). Where the
        activation of 0 is not 0, lanes that belong to no channel hold it; the next layer's
        weights for them are zero.
    """
    if activation == "none":
        return value
    limits = clips(activation)
    if limits is not None:
        return _clipped(value, *limits)
    name, parameters = parsed(activation)
    if name in _CHEAP:
        return _CHEAP[name](value, *parameters)
    return named(value, lambda x: _FUNCTIONS[name](x, *parameters))


def _clipped(value: Any, low: float, high: float) -> Any:
    if math.isfinite(low):
        value = te.max(value, constant(low))
    return te.min(value, constant(high)) if math.isfinite(high) else value


def _hard_sigmoid(x: Any) -> Any:
    return _clipped(x + constant(3.0), 0.0, 6.0) * constant(1.0 / 6.0)


def _gate(x: Any, slope: float, offset: float, top: float) -> Any:
    return _clipped(x * constant(slope) + constant(offset), 0.0, top)


_CHEAP: dict[str, Callable[..., Any]] = {
    "hardsigmoid": _hard_sigmoid,
    "hardswish": lambda x: x * _hard_sigmoid(x),
    "gate": _gate,
    "gated": lambda x, *gate: x * _gate(x, *gate),
    "leakyrelu": lambda x, alpha: tirx.Select(x < constant(0.0), x * constant(alpha), x),
}
"""So few operations that a value twice in them is computed once by any compiler."""


def _swish(x: Any, beta: float) -> Any:
    return x / one_plus_exponential(x * constant(-beta))


def _gelu(x: Any) -> Any:
    return named(x * constant(0.5), lambda half: half + half * normal_error_function(x))


def _gelu_tanh(x: Any) -> Any:
    # (1 + tanh(y)) / 2 is the sigmoid of 2 y.
    factor = -2.0 * math.sqrt(2.0 / math.pi)
    exponent = x * (x * x * constant(0.044715 * factor) + constant(factor))
    return x / one_plus_exponential(exponent)


def _mish(x: Any) -> Any:
    # tanh(ln(1 + w)) is n / (n + 2) with n = w (w + 2), w = e**x.
    def gate(n: Any) -> Any:
        return x * (n / (n + constant(2.0)))

    power = exponential(te.min(x, constant(_FLAT)))
    return named(power, lambda w: named(w * (w + constant(2.0)), gate))


def _tanh(x: Any) -> Any:
    double = te.min(te.max(x + x, constant(-_FLAT)), constant(_FLAT))
    return named(exponential_minus_one(double), lambda t: t / (t + constant(2.0)))


def _softplus(x: Any) -> Any:
    magnitude = te.max(x, constant(0.0) - x)
    below = logarithm_of_one_plus(exponential(constant(0.0) - magnitude))
    return te.max(x, constant(0.0)) + below


def _elu(x: Any, alpha: float) -> Any:
    below = exponential_minus_one(te.min(x, constant(0.0))) * constant(alpha)
    return tirx.Select(x > constant(0.0), x, below)


def _selu(x: Any, alpha: float, gamma: float) -> Any:
    below = exponential_minus_one(te.min(x, constant(0.0))) * constant(alpha * gamma)
    return tirx.Select(x > constant(0.0), x * constant(gamma), below)


def _celu(x: Any, alpha: float) -> Any:
    exponent = te.min(x, constant(0.0)) * constant(1.0 / alpha)
    return tirx.Select(x > constant(0.0), x, exponential_minus_one(exponent) * constant(alpha))


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sigmoid": lambda x: constant(1.0) / one_plus_exponential(constant(0.0) - x),
    "silu": lambda x: _swish(x, 1.0),
    "swish": _swish,
    "gelu": _gelu,
    "gelutanh": _gelu_tanh,
    "mish": _mish,
    "tanh": _tanh,
    "softplus": _softplus,
    "elu": _elu,
    "selu": _selu,
    "celu": _celu,
}
