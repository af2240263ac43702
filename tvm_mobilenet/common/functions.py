"""Every activation, as data: where it is flat, how steep it is, what float32 loses of it.

An activation is a text: a kind, and its parameters in parentheses where it has any:
``"leakyrelu(0.1)"``, ``"clip(-1,2)"``. Parameters are float32, spelled by their shortest decimals,
so that equal activations are equal texts. What each computes is in
:mod:`tvm_mobilenet.models.activations`, and in TE in :mod:`tvm_mobilenet.compute.activations`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from tvm_mobilenet.errors import InvalidModelError

Activation: TypeAlias = str
"""The text of an activation, of one of :data:`KINDS`."""

Interval = tuple[float, float]

_ANYWHERE: Interval = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of activation; each function takes its parameters, in their order.

    Attributes
    ----------
    steepest : callable
        Largest slope: what it multiplies an error of its input by, at most.
    parameters : tuple of str
        Their names.
    clips : callable, optional
        Lowest and highest output, of what does nothing but clip.
    varies : callable
        Where it is not constant.
    by_channel : bool
        Whether its parameters are the layer's, one a channel, and not part of the text.
    loses : callable
        (a, r): what float32 arithmetic adds to an error, a + r * abs(x), in units of 2**-24.
    """

    steepest: Callable[..., float]
    parameters: tuple[str, ...] = ()
    clips: Callable[..., Interval] | None = None
    by_channel: bool = False
    varies: Callable[..., Interval] = lambda *_: _ANYWHERE
    loses: Callable[..., Interval] = lambda *_: (0.0, 0.0)


def _constant(value: float) -> Callable[..., float]:
    return lambda *_: value


def _losing(absolute: float, relative: float) -> Callable[..., Interval]:
    return lambda *_: (absolute, relative)


KINDS: dict[str, Kind] = {
    "none": Kind(_constant(1.0)),
    "relu": Kind(_constant(1.0), clips=lambda: (0.0, math.inf)),
    "relu6": Kind(_constant(1.0), clips=lambda: (0.0, 6.0)),
    "clip": Kind(_constant(1.0), ("low", "high"), clips=lambda low, high: (low, high)),
    # min(max(x + 3, 0), 6) / 6, and x times that (arXiv 1905.02244, section 5.2).
    "hardsigmoid": Kind(_constant(1 / 6), varies=lambda: (-3.0, 3.0), loses=_losing(4, 0)),
    "hardswish": Kind(
        _constant(1.5),  # (2 x + 3) / 6 at x = 3
        varies=lambda: (-3.0, math.inf),
    ),
    # The same with other numbers, as files have them: min(max(slope * x + offset, 0), top).
    "gate": Kind(
        lambda slope, *_: slope,
        ("slope", "offset", "top"),
        varies=lambda slope, offset, top: (-offset / slope, (top - offset) / slope),
        loses=lambda _, offset, top: (4 * max(top, offset), 0),
    ),
    "gated": Kind(
        lambda _, offset, top: max(abs(2 * top - offset), offset, top),
        ("slope", "offset", "top"),
        varies=lambda slope, offset, _: (-offset / slope, math.inf),
    ),
    "sigmoid": Kind(_constant(0.25), loses=_losing(8, 0)),
    # x sigmoid(beta x), beta 1 or another: at most 1.0999 steep, as the next by their maxima.
    "silu": Kind(_constant(1.1), loses=_losing(0, 8)),
    "swish": Kind(_constant(1.1), ("beta",), loses=_losing(0, 8)),
    "gelu": Kind(_constant(1.13), loses=_losing(0, 8)),
    "gelutanh": Kind(_constant(1.13), loses=_losing(0, 12)),
    "mish": Kind(_constant(1.09), loses=_losing(0, 12)),
    "tanh": Kind(_constant(1.0), loses=_losing(0, 8)),
    "softplus": Kind(_constant(1.0), loses=_losing(6, 6)),
    "elu": Kind(
        lambda alpha: max(1.0, abs(alpha)), ("alpha",), loses=lambda alpha: (0, 8 * abs(alpha))
    ),
    "selu": Kind(
        lambda alpha, gamma: abs(gamma) * max(1.0, abs(alpha)),
        ("alpha", "gamma"),
        loses=lambda alpha, gamma: (0, 8 * abs(gamma) * max(1.0, abs(alpha))),
    ),
    "celu": Kind(_constant(1.0), ("alpha",), loses=_losing(0, 12)),
    "leakyrelu": Kind(lambda alpha: max(1.0, abs(alpha)), ("alpha",)),
    # Slopes below 0 that a kernel takes beside its biases; how steep, they say.
    "prelu": Kind(_constant(math.inf), by_channel=True),
}

PRELU: Activation = "prelu"


@lru_cache(maxsize=1024)
def parsed(activation: Activation) -> tuple[str, tuple[float, ...]]:
    """Return an activation's kind and its parameters.

    Raises
    ------
    InvalidModelError
        If it is none of ours, or has not as many numbers as its kind has parameters.
    """
    name, found, rest = activation.partition("(")
    known = KINDS.get(name)
    try:
        numbers = tuple(map(float, rest.removesuffix(")").split(","))) if found else ()
    except ValueError:
        known = None
    if known is None or len(numbers) != len(known.parameters):
        raise InvalidModelError(f"unknown activation {activation!r}")
    return name, numbers


def spelled(name: str, *parameters: float) -> Activation:
    """Return the text of an activation of that kind; parameters are rounded to float32."""
    return f"{name}({','.join(map(_shortest, parameters))})" if parameters else name


def _shortest(value: float) -> str:
    single = _single(value)
    texts = (f"{single:.{digits}g}" for digits in range(1, 10))
    return next(text for text in texts if _single(float(text)) == single)


def _single(value: float) -> float:
    """Round to float32; what is beyond it is infinite."""
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def identifier(activation: Activation) -> str:
    """Return an activation as part of a C identifier, different ones different."""
    for mark, word in (("(", "_"), (",", "_"), (")", ""), ("-", "m"), ("+", ""), (".", "p")):
        activation = activation.replace(mark, word)
    return activation


def clips(activation: Activation) -> Interval | None:
    """Return the lowest and highest output of what does nothing but clip, else None."""
    name, parameters = parsed(activation)
    found = KINDS[name].clips
    return None if found is None else found(*parameters)


def tabled(activation: Activation) -> bool:
    """Whether an activation is no clipping: of elements of 8 bits, a table gives its value."""
    return activation != "none" and clips(activation) is None


def varies(activation: Activation) -> Interval:
    """Return where an activation is not constant."""
    name, parameters = parsed(activation)
    return KINDS[name].varies(*parameters)


def steepest(activation: Activation) -> float:
    """Return the largest slope: what an activation multiplies an error of its input by, at most."""
    name, parameters = parsed(activation)
    return KINDS[name].steepest(*parameters)


def losses(activation: Activation) -> Interval:
    """Return (a, r): float32 arithmetic loses at most a + r * abs(x) units of 2**-24."""
    name, parameters = parsed(activation)
    return KINDS[name].loses(*parameters)
