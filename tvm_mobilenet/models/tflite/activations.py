"""Activations that are operators of TensorFlow Lite, in ONNX's: those that are no clipping."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tvm_mobilenet.models.tflite.read import Op
from tvm_mobilenet.models.tflite.writer import Writer

_Rule = Callable[[Writer, Op], None]

_CUBE = 0.044715
"""In the hyperbolic tangent by which GELU is approximated (arXiv 1606.08415, section 2)."""


def _named(kind: str) -> _Rule:
    """Return the rule of an operator that ONNX has, too; ELU's alpha is 1, and not said."""

    def rule(made: Writer, op: Op) -> None:
        alpha = float(getattr(op.options, "alpha", 1.0))
        made.finish(op, kind, [made.read(op, 0)], alpha=alpha)

    return rule


def _gelu(made: Writer, op: Op) -> None:
    """GELU by its parts: ONNX has it from opset 20 on."""
    source, name = made.read(op, 0), made.output(op).name

    def by(kind: str, one: str, number: float) -> str:
        constant = made.store(f"{name}.by", number, np.float32)
        return made.step(kind, [one, constant], f"{name}.{kind}")

    if getattr(op.options, "approximate", False):
        square = made.step("Mul", [source, source], f"{name}.square")
        factor = by("Add", by("Mul", square, _CUBE), 1.0)
        inner = made.step("Mul", [source, factor], f"{name}.inner")
        curve = made.step("Tanh", [by("Mul", inner, math.sqrt(2 / math.pi))], f"{name}.tanh")
    else:
        curve = made.step("Erf", [by("Mul", source, math.sqrt(0.5))], f"{name}.erf")
    made.finish(op, "Mul", [by("Mul", source, 0.5), by("Add", curve, 1.0)])


ACTIVATIONS: dict[str, _Rule] = {
    "ELU": _named("Elu"),
    "GELU": _gelu,
    "LEAKY_RELU": _named("LeakyRelu"),
}
"""By operator of TensorFlow Lite."""
