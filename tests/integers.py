"""What layers compute in integers, from the definition: loops in Python, exact fractions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.models.quantized.model import Quantization, QuantizedModel
from tvm_mobilenet.models.spec import Conv2d, Dense, GlobalAvgPool, Layer, Scale
from tvm_mobilenet.models.tensors import TensorType

Array = NDArray[Any]


def float32(value: Fraction | float) -> Fraction:
    """Round to 24 bits, ties to even; no subnormals, no overflow."""
    exact = Fraction(value)
    if exact == 0:
        return exact
    exponent = math.frexp(float(abs(exact)))[1] - 24
    unit = Fraction(2) ** exponent
    if round(abs(exact) / unit) < 2**23:  # float() went up to a power of two
        unit /= 2
    return round(exact / unit) * unit


def shift(value: float) -> Fraction:
    """Round to a multiple of 2**-44, and to float32."""
    return float32(Fraction(round(Fraction(value) * 2**44), 2**44))


def element(value: Fraction, to: TensorType, low: int = -128, high: int = 255) -> int:
    """Round to a whole number, ties to even, and clip."""
    least, greatest = to.limits
    return min(max(round(value), low, least), high, greatest)


def naive(network: QuantizedModel, weights: dict[str, Array], layer: Layer, *xs: Array) -> Array:
    """Compute one layer, an output element at a time."""
    sources = [network.type_of(name) for name in layer.inputs]
    made = Naive(layer, network.records[layer.name], sources, weights, xs)
    y = np.zeros(layer.out_shape, made.record.output.dtype)
    for at in itertools.product(*map(range, layer.out_shape)):
        y[at] = made.element_of(at)
    return y


@dataclass
class Naive:
    layer: Any
    record: Quantization
    sources: list[TensorType]
    weights: dict[str, Array]
    xs: tuple[Array, ...]

    def element_of(self, at: tuple[int, ...]) -> float:
        if isinstance(self.layer, Conv2d | Dense):
            return self.weighted(at)
        if isinstance(self.layer, GlobalAvgPool):
            return self.mean(at)
        return self.product(at) if isinstance(self.layer, Scale) else self.total(at)

    def mean(self, at: tuple[int, ...]) -> int:
        (x,), (source,), to = self.xs, self.sources, self.record.output
        pixels = x.shape[2] * x.shape[3]
        total = sum(int(v) for v in x[at[0], at[1]].reshape(-1))
        s = source.scale[0] / (pixels * to.scale[0])
        b = to.zero_point - source.zero_point * source.scale[0] / to.scale[0]
        return element(float32(float32(total) * float32(s) + shift(b)), to)

    def product(self, at: tuple[int, ...]) -> int:
        first, second, to = *self.sources, self.record.output
        value = int(self.xs[0][at]) - first.zero_point
        value *= int(self.xs[1][at[0], at[1], 0, 0]) - second.zero_point
        s = first.scale[0] * second.scale[0] / to.scale[0]
        return element(float32(value * float32(s) + to.zero_point), to)

    def total(self, at: tuple[int, ...]) -> int:
        to = self.record.output
        scales = [(of.scale[0] if of.quantized else 1.0) / to.scale[0] for of in self.sources]
        zeros = [(of.zero_point or 0) * s for of, s in zip(self.sources, scales, strict=True)]
        value = shift(to.zero_point - sum(zeros))
        for x, s in zip(self.xs, scales, strict=True):
            value = float32(Fraction(x[at].item()) * float32(s) + value)
        return element(value, to)

    def weighted(self, at: tuple[int, ...]) -> float:
        layer, record, (source,), o = self.layer, self.record, self.sources, at[1]
        weight, bias = (self.weights[f"{layer.name}.{part}"] for part in ("weight", "bias"))
        to = record.before or record.output
        unit, zero = (to.scale[0], to.zero_point) if to.quantized else (1.0, 0)
        scales = record.weight.scale
        s = float32(source.scale[0] * scales[o if len(scales) > 1 else 0] / unit)
        surplus = int(weight[o].astype(int).sum()) * source.zero_point * s
        b = shift(float(bias[o]) / unit + zero - float(surplus))
        value = float32(float32(sum(int(w) * q for w, q in self.products(at))) * s + b)
        if record.before is not None:
            return self.activated(unit * (element(value, to) - zero))
        low = 0 if layer.activation.startswith("relu") else -math.inf
        high = 6 if layer.activation == "relu6" else math.inf
        if not to.quantized:
            return float(min(max(value, low), high))
        low = zero if low == 0 else -128
        return element(value, to, low, zero + round(6 / unit) if high == 6 else 255)

    def activated(self, x: float) -> int:
        gate = min(max(x + 3.0, 0.0), 6.0) / 6.0
        value = gate * x if self.layer.activation == "hardswish" else gate
        to = self.record.output
        return element(Fraction(round(value / to.scale[0] + to.zero_point)), to)

    def products(self, at: tuple[int, ...]) -> Iterator[tuple[int, int]]:
        """Yield weights and elements; those beyond the border are the zero point."""
        layer, weight, x = self.layer, self.weights[f"{self.layer.name}.weight"], self.xs[0]
        if isinstance(layer, Dense):
            yield from ((w, int(q)) for w, q in zip(weight[at[1]], x[at[0]], strict=True))
            return
        n, o, row, column = at
        first = o // (layer.out_channels // layer.groups) * weight.shape[1]
        for c, i, j in itertools.product(*map(range, weight.shape[1:])):
            y = row * layer.strides[0] + i - layer.padding[0]
            z = column * layer.strides[1] + j - layer.padding[1]
            inside = 0 <= y < x.shape[2] and 0 <= z < x.shape[3]
            element = int(x[n, first + c, y, z]) if inside else self.sources[0].zero_point
            yield weight[o, c, i, j], element
