"""Operators that compute each element by itself, and their broadcasting, in ONNX's."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tvm_mobilenet.frontends.program import Call
from tvm_mobilenet.frontends.writer import Writer

Rule = Callable[[Writer, Call], "str | list[str]"]

_SAME = {
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "add": "Add", "asin": "Asin",
    "asinh": "Asinh", "atan": "Atan", "atanh": "Atanh", "ceil": "Ceil", "cos": "Cos",
    "cosh": "Cosh", "divide": "Div", "equal": "Equal", "erf": "Erf", "exp": "Exp",
    "floor": "Floor", "greater": "Greater", "greater_equal": "GreaterOrEqual",
    "hardswish": "HardSwish", "isinf": "IsInf", "isnan": "IsNaN", "less": "Less",
    "less_equal": "LessOrEqual", "log": "Log", "logical_and": "And", "logical_not": "Not",
    "logical_or": "Or", "logical_xor": "Xor", "maximum": "Max", "minimum": "Min",
    "multiply": "Mul", "negative": "Neg", "nn.relu": "Relu", "nn.selu": "Selu", "power": "Pow",
    "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt",
    "subtract": "Sub", "tan": "Tan", "tanh": "Tanh", "where": "Where",
}  # fmt: skip
"""Operators that ONNX has as they are: of the same operands, broadcast alike."""


def _same(operator: str) -> Rule:
    def rule(w: Writer, call: Call) -> str:
        return str(w.emit(operator, *map(w.read, call.args)))

    return rule


def _clip(w: Writer, call: Call) -> str:
    """Clip to numbers; those beyond a type of integers are its ends."""
    source = call.args[0]
    bounds = [float(call.attrs["a_min"]), float(call.attrs["a_max"])]
    if np.issubdtype(source.dtype, np.integer):
        ends = np.iinfo(source.dtype)
        bounds = [min(max(math.trunc(b), ends.min), ends.max) if math.isfinite(b)
                  else (ends.min if b < 0 else ends.max) for b in bounds]  # fmt: skip
    return str(w.emit("Clip", w.read(source), *(w.scalar(b, source.dtype) for b in bounds)))


def _leaky_relu(w: Writer, call: Call) -> str:
    return str(w.emit("LeakyRelu", w.read(call.args[0]), alpha=call.attrs["alpha"]))


def _prelu(w: Writer, call: Call) -> str:
    source, slope = call.args
    rank = len(source.shape)
    shape = w.axis_shape(math.prod(slope.shape), call.attrs["axis"] % rank, rank)
    return str(w.emit("PRelu", w.read(source), w.reshaped(w.read(slope), shape)))


def _rsqrt(w: Writer, call: Call) -> str:
    return str(w.emit("Reciprocal", w.emit("Sqrt", w.read(call.args[0]))))


def _square(w: Writer, call: Call) -> str:
    x = w.read(call.args[0])
    return str(w.emit("Mul", x, x))


def _silu(w: Writer, call: Call) -> str:
    x = w.read(call.args[0])
    return str(w.emit("Mul", x, w.emit("Sigmoid", x)))


def _gelu(w: Writer, call: Call) -> str:
    """Return x (1 + erf(x / √2)) / 2: ONNX has a Gelu since opset 20."""
    x, dtype = w.read(call.args[0]), call.out.dtype
    erf = w.emit("Erf", w.emit("Mul", x, w.scalar(math.sqrt(0.5), dtype)))
    return _half_of_one_and(w, x, erf, dtype)


def _gelu_tanh(w: Writer, call: Call) -> str:
    """Return x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2."""
    x, dtype = w.read(call.args[0]), call.out.dtype
    inner = w.emit("Mul", w.emit("Mul", x, x), w.scalar(0.044715, dtype))
    inner = w.emit("Mul", x, w.emit("Add", inner, w.scalar(1, dtype)))
    tanh = w.emit("Tanh", w.emit("Mul", inner, w.scalar(math.sqrt(2 / math.pi), dtype)))
    return _half_of_one_and(w, x, tanh, dtype)


def _half_of_one_and(w: Writer, x: str, gate: str, dtype: str) -> str:
    half = w.emit("Mul", x, w.scalar(0.5, dtype))
    return str(w.emit("Mul", half, w.emit("Add", gate, w.scalar(1, dtype))))


def _softplus(w: Writer, call: Call) -> str:
    if call.attrs["beta"] != 1 or call.attrs["threshold"] < 20:
        raise call.refused("ONNX has it with beta 1 and no threshold")
    return str(w.emit("Softplus", w.read(call.args[0])))


def _not_equal(w: Writer, call: Call) -> str:
    return str(w.emit("Not", w.emit("Equal", *map(w.read, call.args))))


def _cast(w: Writer, call: Call) -> str:
    return w.cast(w.read(call.args[0]), call.args[0].dtype, call.out.dtype)


def _nothing(w: Writer, call: Call) -> str:
    return w.read(call.args[0])


def _bias_add(w: Writer, call: Call) -> str:
    source, bias = call.args
    rank = len(source.shape)
    shape = w.axis_shape(math.prod(bias.shape), call.attrs["axis"] % rank, rank)
    return str(w.emit("Add", w.read(source), w.reshaped(w.read(bias), shape)))


RULES: dict[str, Rule] = {
    **{name: _same(operator) for name, operator in _SAME.items()},
    "annotation.stop_fusion": _nothing,
    "cast": _cast,
    "clip": _clip,
    "copy": _nothing,
    "nn.bias_add": _bias_add,
    "nn.dropout": _nothing,
    "nn.gelu": _gelu,
    "nn.gelu_tanh": _gelu_tanh,
    "nn.leaky_relu": _leaky_relu,
    "nn.prelu": _prelu,
    "nn.silu": _silu,
    "nn.softplus": _softplus,
    "not_equal": _not_equal,
    "rsqrt": _rsqrt,
    "square": _square,
}
