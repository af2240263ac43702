"""Activations that no kernel of ours computes, by Relay's operators."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm import relay

from tvm_mobilenet.common.functions import Activation, clips, parsed


def activated(value: Any, activation: Activation) -> Any:
    """Return an expression's activation."""
    limits = clips(activation)
    if activation in ("none", "relu"):
        return value if activation == "none" else relay.nn.relu(value)
    if limits is not None:
        return relay.clip(value, *limits)
    name, parameters = parsed(activation)
    return _FUNCTIONS[name](value, *parameters)


def _const(value: float) -> Any:
    return relay.const(value, "float32")


def _hard_sigmoid(x: Any) -> Any:
    raised = relay.add(x, _const(3.0))
    return relay.divide(relay.clip(raised, 0.0, 6.0), _const(6.0))


def _gate(x: Any, slope: float, offset: float, top: float) -> Any:
    return relay.clip(x * _const(slope) + _const(offset), 0.0, top)


def _softplus(x: Any) -> Any:
    below = relay.log(_const(1.0) + relay.exp(-relay.abs(x)))
    return relay.nn.relu(x) + below


def _gelu_tanh(x: Any) -> Any:
    inner = x * (_const(1.0) + x * x * _const(0.044715)) * _const(math.sqrt(2 / math.pi))
    return x * _const(0.5) * (_const(1.0) + relay.tanh(inner))


def _elu(x: Any, alpha: float) -> Any:
    below = (relay.exp(relay.minimum(x, _const(0.0))) - _const(1.0)) * _const(alpha)
    return relay.where(relay.greater(x, _const(0.0)), x, below)


def _selu(x: Any, alpha: float, gamma: float) -> Any:
    return _elu(x, alpha) * _const(gamma)


def _celu(x: Any, alpha: float) -> Any:
    below = (relay.exp(relay.minimum(x, _const(0.0)) * _const(1 / alpha)) - _const(1.0)) * _const(
        alpha
    )
    return relay.where(relay.greater(x, _const(0.0)), x, below)


def _leaky(x: Any, alpha: float) -> Any:
    return relay.where(relay.less(x, _const(0.0)), x * _const(alpha), x)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "hardsigmoid": _hard_sigmoid,
    "hardswish": lambda x: relay.multiply(x, _hard_sigmoid(x)),
    "gate": _gate,
    "gated": lambda x, *gate: x * _gate(x, *gate),
    "sigmoid": relay.sigmoid,
    "silu": lambda x: x * relay.sigmoid(x),
    "swish": lambda x, beta: x * relay.sigmoid(x * _const(beta)),
    "gelu": lambda x: x * _const(0.5) * (_const(1.0) + relay.erf(x * _const(math.sqrt(0.5)))),
    "gelutanh": _gelu_tanh,
    "mish": lambda x: x * relay.tanh(_softplus(x)),
    "tanh": relay.tanh,
    "softplus": _softplus,
    "elu": _elu,
    "selu": _selu,
    "celu": _celu,
    "leakyrelu": _leaky,
}
