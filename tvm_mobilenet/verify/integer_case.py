"""One kernel in integers by itself: data for it, and each element that it must answer.

Its layers get types that come to the workload's limits and zero points; parameters and answer are
then found as those of a network are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.common.bfloat16 import narrowed, rounded
from tvm_mobilenet.common.functions import tabled
from tvm_mobilenet.machine import RANGES, Dtype
from tvm_mobilenet.models.layers import Weighted
from tvm_mobilenet.models.quantized import reference
from tvm_mobilenet.models.quantized.model import (
    FLOAT,
    Dequantize,
    Quantization,
    Quantize,
    QuantizedModel,
)
from tvm_mobilenet.models.spec import (
    INPUT,
    Activate,
    Add,
    Conv2d,
    GlobalAvgPool,
    Layer,
    Model,
    Scale,
    Shape,
    Softmax,
)
from tvm_mobilenet.models.tensors import TensorType
from tvm_mobilenet.network.integer_parameters import parameters
from tvm_mobilenet.operators.facts import OPERATORS, OTHER
from tvm_mobilenet.operators.packing import blocked
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.verify.kernel_case import KernelCase

_UNIT = 1 / 32
"""Scale of what is read."""

_HALF = "bfloat16"

_IDLE = 99
"""What stands in lanes of no channel: kernels may read it, and nothing may come of it."""

_CENTRE = 3.0
"""Mean and deviation of what is rounded, so that a range of 0 to 6 is met at both of its ends."""

_WEIGHTS, _ELEMENTS = 73.0, 147.0
"""Root mean squares of int8 and of uint8 that are spread evenly."""

Array = NDArray[Any]
_OVER: dict[str, Callable[[Shape], Layer]] = {
    "quantize": lambda shape: Quantize("a", (INPUT,), shape),
    "dequantize": lambda shape: Dequantize("a", (INPUT,), shape),
    "quantize_blocks": lambda shape: Quantize("a", (INPUT,), shape),
    "dequantize_blocks": lambda shape: Dequantize("a", (INPUT,), shape),
    "qtable": lambda shape: Activate("a", (INPUT,), shape, "hardswish"),
    "qpool": lambda shape: GlobalAvgPool("a", (INPUT,), shape, keep_map=True),
    "qscale": lambda shape: Scale("a", (INPUT, OTHER), shape),
    "qsoftmax": lambda shape: Softmax("a", (INPUT,), shape[:2]),
    "qadd": lambda shape: Add("a", (INPUT, OTHER), shape),
}
"""The layers of operators that go over elements."""

UNMADE = frozenset({"qconcat", "qlargest", "qmean", "qpixels"})
"""Operators for which no case is made: a network has one or two of their kernels."""

Link = tuple[Layer, Quantization | None]
"""A layer, and how it computes in integers."""


def integer_case(work: Workload, seed: int = 0) -> KernelCase:
    """Make random data for a workload's kernel in integers, and compute the answer.

    Parameters
    ----------
    seed : int
        What the data are drawn from.

    Returns
    -------
    KernelCase
        No element may be off; lanes of no channel may hold anything.
    """
    rng = np.random.default_rng(seed)
    links, types = _links(work)
    values: dict[str, Array] = {}
    reads = dict(zip((INPUT, OTHER), work.in_dtypes, strict=False))
    numbers: list[Array] = []
    for layer, record in links:
        for name, shape in zip(layer.inputs, layer.in_shapes, strict=True):
            if name not in values:
                drawn = _drawn(rng, shape, types[name])
                values[name] = rounded(drawn) if reads.get(name) == _HALF else drawn
        types[layer.name] = FLOAT if record is None else record.output
        network, weights = _alone(layer, record, types), _weights(rng, layer)
        (*_, alone) = network.model.layers
        inputs = (values[name] for name in layer.inputs)
        values[layer.name] = reference.run_layer(network, weights, alone, *inputs)
        numbers += parameters(network, work, (alone,), weights)
    facts, data, want = OPERATORS[work.operator], values[INPUT], values[links[-1][0].name]
    dtype, bound = want.dtype.name, np.zeros(want.shape)
    if work.out_dtype == _HALF:
        want, dtype = rounded(want), work.out_element
    if work.operator == "qdense":
        want, bound = want.reshape(want.shape[:2]), bound.reshape(want.shape[:2])
    if not facts.writes_plain:
        want, bound = blocked(want, work.out_block), blocked(bound, work.out_block, math.inf)
    if not facts.reads_plain:
        data = _kept(blocked(data, work.in_block, _IDLE), reads.get(INPUT))
    others = [
        _kept(blocked(values[name], work.out_block, _IDLE), reads.get(name))
        for name in (OTHER,)
        if name in values
    ]
    return KernelCase((data, *numbers, *others), want.astype(np.float64), bound, dtype)


def _kept(value: Array, dtype: str | None) -> Array:
    """Return what lies in a map as the kernel reads it: bfloat16 by its bits."""
    return narrowed(value) if dtype == _HALF else value


def _links(work: Workload) -> tuple[list[Link], dict[str, TensorType]]:
    """Return the layers of a workload, and the types of what it reads."""
    least, greatest = RANGES[work.dtype]
    zeros = {INPUT: work.zero_point, OTHER: work.other_zero_point}
    types = {name: TensorType(work.dtype, (_UNIT,), zero) for name, zero in zeros.items()}
    floats = (dtype in ("float32", _HALF) for dtype in work.in_dtypes)
    types |= {name: FLOAT for name, is_float in zip(zeros, floats, strict=False) if is_float}
    made = Quantization(TensorType(work.dtype, (2 * _UNIT,), (least + greatest + 1) // 2))
    if work.operator not in _OVER:
        return _multiplying(work, made), types
    shape = (work.batch, work.in_channels, *work.in_size)[: work.in_plain or 4]
    layer = _OVER[work.operator](shape)
    if isinstance(layer, Quantize):
        types[INPUT] = FLOAT
    if isinstance(layer, Softmax):  # the largest of so many shares that are alike
        made = Quantization(TensorType(work.dtype, (_UNIT / work.in_channels,), least))
    return [(layer, None if isinstance(layer, Dequantize) else made)], types


def _multiplying(work: Workload, summed: Quantization) -> list[Link]:
    """Return the layers of a workload of products, and the sum that takes theirs in."""
    *before, last = OPERATORS[work.operator].layers(work)
    links = [_rounded(layer, work.dtype, work.mid_limits) for layer in before]
    assert isinstance(last, Conv2d)
    if work.residual:
        plain = dataclasses.replace(last, activation="none")
        order = (OTHER, last.name) if work.residual_first else (last.name, OTHER)
        links.append((plain, Quantization(FLOAT, _weight_type(plain))))
        links.append((Add("sum", order, last.out_shape), summed))
    elif work.out_dtype or OPERATORS[work.operator].writes_plain:
        links.append((last, Quantization(FLOAT, _weight_type(last))))
    else:
        links.append(_rounded(last, work.dtype, work.limits))
    return links


def _rounded(layer: Layer, dtype: Dtype, limits: tuple[int, int]) -> Link:
    """Return a layer whose sums are rounded to elements between limits."""
    assert isinstance(layer, Conv2d)
    low, high = limits
    output, weight = TensorType(dtype, (2 * _CENTRE / (high - low),), low), _weight_type(layer)
    if tabled(layer.activation):
        return layer, Quantization(output, weight, output)
    clipped = dataclasses.replace(layer, activation="relu6")
    return clipped, Quantization(output, weight)


def _weight_type(layer: Conv2d) -> TensorType:
    """Return a weight's type by which sums have the deviation that they shall."""
    products = math.prod(layer.kernel) * layer.in_channels // layer.groups
    spread = _UNIT * _WEIGHTS * _ELEMENTS * math.sqrt(products)
    return TensorType("int8", (_CENTRE / spread,), 0)


def _alone(
    layer: Layer, record: Quantization | None, types: dict[str, TensorType]
) -> QuantizedModel:
    """Return a network of one layer; what makes its second input is never run."""
    first, *rest = (types[name] for name in layer.inputs)
    records = {} if record is None else {layer.name: record}
    if first.quantized:
        records[INPUT] = Quantization(first)
    layers = [dataclasses.replace(layer, inputs=(INPUT, OTHER)[: 1 + len(rest)])]
    for second in rest:
        layers.insert(0, _second(layer, first, second))
        if second.quantized:
            records[OTHER] = Quantization(second)
    model = Model("case", "case", {}, layer.in_shape, tuple(layers), input_dtype=first.dtype)
    return QuantizedModel(model, records)


def _second(layer: Layer, first: TensorType, second: TensorType) -> Layer:
    """Return a layer that makes one type of another."""
    source, shape = (INPUT,), layer.in_shape
    if isinstance(layer, Scale):
        return GlobalAvgPool(OTHER, source, shape, keep_map=True)
    if first.quantized == second.quantized:
        return Activate(OTHER, source, shape, "hardswish")
    return Quantize(OTHER, source, shape) if second.quantized else Dequantize(OTHER, source, shape)


def _drawn(rng: np.random.Generator, shape: Shape, of: TensorType) -> Array:
    """Return elements of a whole range, or numbers."""
    if not of.quantized:
        return rng.normal(0, _CENTRE, shape).astype(np.float32)
    low, high = of.limits
    return rng.integers(low, high + 1, shape).astype(of.dtype)


def _weights(rng: np.random.Generator, layer: Layer) -> dict[str, Array]:
    """Return int8 weights of a whole range and float32 biases."""
    if not isinstance(layer, Weighted):
        return {}
    low, high = RANGES["int8"]
    shapes = layer.parameters
    weight, bias = (shapes[f"{layer.name}.{part}"] for part in ("weight", "bias"))
    return {
        f"{layer.name}.weight": rng.integers(low + 1, high + 1, weight).astype(np.int8),
        f"{layer.name}.bias": rng.normal(_CENTRE, 1, bias).astype(np.float32),
    }
