"""Every activation, and the ways in which ONNX files spell them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from onnx_nets import Net

ACTIVATIONS = (
    "clip(-1,2)",
    "clip(-inf,1.5)",
    "gate(0.2,0.5,1)",
    "gated(0.16667,0.50001,1.00002)",
    "sigmoid",
    "silu",
    "swish(1.702)",
    "tanh",
    "gelu",
    "gelutanh",
    "mish",
    "softplus",
    "elu(0.5)",
    "selu(1.6732632,1.050701)",
    "celu(0.5)",
    "leakyrelu(0.1)",
)
"""All kinds that are no other's special case, with parameters as files have them."""

Spelling = Callable[[Net, str], str]


def _gelu_tanh(n: Net, x: str) -> str:
    cube = n.op("Pow", x, n.const(3.0))
    inner = n.op("Add", x, n.op("Mul", cube, n.const(0.044715)))
    bent = n.op("Tanh", n.op("Mul", inner, n.const(math.sqrt(2 / math.pi))))
    return n.op("Mul", n.op("Mul", x, n.op("Add", bent, n.const(1.0))), n.const(0.5))


def _gelu(n: Net, x: str) -> str:
    above = n.op("Add", n.op("Erf", n.op("Div", x, n.const(math.sqrt(2)))), n.const(1.0))
    return n.op("Mul", n.op("Mul", x, above), n.const(0.5))


def _gated(n: Net, x: str) -> str:
    clipped = n.op("Clip", n.op("Add", x, n.const(3.0)), n.const(0.0), n.const(6.0))
    return n.op("Mul", x, n.op("Mul", clipped, n.const(0.16667)))


def _leaky_by_relu(n: Net, x: str) -> str:
    below = n.op("Relu", n.op("Neg", x))
    return n.op("Sub", n.op("Relu", x), n.op("Mul", below, n.const(0.1)))


def _leaky_by_abs(n: Net, x: str) -> str:
    both = n.op("Mul", n.op("Sub", x, n.op("Abs", x)), n.const(0.05))
    return n.op("Add", n.op("Relu", x), both)


def _leaky_by_extremes(n: Net, x: str) -> str:
    zero = n.const(0.0)
    return n.op("Add", n.op("Max", x, zero), n.op("Mul", n.op("Min", x, zero), n.const(0.1)))


def _quick(n: Net, x: str) -> str:
    return n.op("Mul", x, n.op("Sigmoid", n.op("Mul", x, n.const(1.702))))


def _exponential(n: Net, x: str) -> str:
    return n.op("Div", n.const(1.0), n.op("Add", n.op("Exp", n.op("Neg", x)), n.const(1.0)))


SPELLINGS: Mapping[str, tuple[str, Spelling]] = {
    "Clip": ("clip(-1,2)", lambda n, x: n.op("Clip", x, n.const(-1.0), n.const(2.0))),
    "Clip above": ("clip(-inf,1.5)", lambda n, x: n.op("Clip", x, "", n.const(1.5))),
    "HardSigmoid": ("gate(0.2,0.5,1)", lambda n, x: n.op("HardSigmoid", x)),
    "Add, Clip, Mul, Mul": ("gated(0.16667,0.50001,1.00002)", _gated),
    "Selu": ("selu(1.6732632,1.050701)", lambda n, x: n.op("Selu", x)),
    "Celu": ("celu(0.5)", lambda n, x: n.op("Celu", x, alpha=0.5)),
    "Sigmoid": ("sigmoid", lambda n, x: n.op("Sigmoid", x)),
    "Exp": ("sigmoid", _exponential),
    "Sigmoid, Mul": ("silu", lambda n, x: n.op("Mul", n.op("Sigmoid", x), x)),
    "Mul, Sigmoid, Mul": ("swish(1.702)", _quick),
    "Tanh": ("tanh", lambda n, x: n.op("Tanh", x)),
    "Erf": ("gelu", _gelu),
    "Pow, Tanh": ("gelutanh", _gelu_tanh),
    "Softplus, Tanh": (
        "mish", lambda n, x: n.op("Mul", x, n.op("Tanh", n.op("Softplus", x))),
    ),
    "Softplus": ("softplus", lambda n, x: n.op("Softplus", x)),
    "Elu": ("elu(0.5)", lambda n, x: n.op("Elu", x, alpha=0.5)),
    "LeakyRelu": ("leakyrelu(0.1)", lambda n, x: n.op("LeakyRelu", x, alpha=0.1)),
    "PRelu of one slope": ("leakyrelu(0.1)", lambda n, x: n.op("PRelu", x, n.const([0.1]))),
    "Relu, Neg": ("leakyrelu(0.1)", _leaky_by_relu),
    "Abs": ("leakyrelu(0.1)", _leaky_by_abs),
    "Min, Max": ("leakyrelu(0.1)", _leaky_by_extremes),
}  # fmt: skip
"""What a file has, what it is, and how to write it."""
