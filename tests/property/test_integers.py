"""The integer reference against loops over exact fractions, for any sizes and types."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integers import float32, naive

from tvm_mobilenet.machine import RANGES
from tvm_mobilenet.models.quantized import reference
from tvm_mobilenet.models.quantized.arithmetic import fused_multiply_add
from tvm_mobilenet.models.quantized.model import FLOAT, Quantization, Quantize, QuantizedModel
from tvm_mobilenet.models.spec import (
    INPUT,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Model,
    Scale,
)
from tvm_mobilenet.models.tensors import TensorType

NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9)
SCALES = st.floats(2.0**-9, 2.0)
SIZES = st.integers(1, 7)


def normal(value: Fraction) -> bool:
    return value == 0 or abs(value) >= Fraction(2) ** -126


@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**24), 2**24), NUMBERS, NUMBERS, st.integers(-2, 2))
def test_one_rounding(a: int, b: float, c: float, near: int) -> None:
    """Also where the sum all but cancels, and where it is beside the middle of two numbers."""
    product = Fraction(a) * Fraction(b)
    beside = float32(product) if near else Fraction(c)
    for third in (c, float(float32(-product)) if normal(product) else c, float(beside) * 2.0**25):
        exact = product + Fraction(np.float32(third).item())
        if normal(exact) and abs(exact) < 2**120:
            got = fused_multiply_add(np.float32(a), np.float32(b), np.float32(third))
            assert Fraction(got.item()) == float32(exact)


def test_a_tie_that_two_roundings_get_wrong() -> None:
    # 1 + 2**-24 + 2**-60 is above the middle of 1 and 1 + 2**-23; float64 loses the last term.
    x = np.float32(1 + 2**-12)
    third = np.float32(2.0**-60)
    exact = Fraction(x.item()) ** 2 + Fraction(third.item())
    got = fused_multiply_add(x, x, third)
    assert Fraction(got.item()) == float32(exact)
    assert np.float32(np.float64(x) * np.float64(x) + np.float64(third)) != got


@pytest.mark.parametrize(
    "shape", [(), (3,), (40_000,), (2, 20_000), (1, 5, 100, 100), (1, 3, 1, 17_000), (0, 4)]
)
def test_an_array_is_rounded_as_its_elements_are(shape: tuple[int, ...]) -> None:
    """In blocks that no element is left out of; numbers of few bits tie often."""
    rng = np.random.default_rng(0)
    whole = rng.integers(-(2**13), 2**13, (2, *shape)) * 2.0**-12
    a, b = whole.astype(np.float32)
    c = (rng.normal(size=shape) * 2.0 ** rng.integers(-80, 0, shape)).astype(np.float32)
    got = fused_multiply_add(a, b, c)
    assert got.shape == shape
    flat = (x.ravel()[-300:] for x in (a, b, c))
    every = [fused_multiply_add(*one) for one in zip(*flat, strict=True)]
    np.testing.assert_array_equal(got.ravel()[-300:], np.array(every, np.float32))
    if got.size > 300:
        first = fused_multiply_add(a.ravel()[:5000], b.ravel()[:5000], c.ravel()[:5000])
        np.testing.assert_array_equal(got.ravel()[:5000], first)


@pytest.mark.parametrize(("depth", "dtype"), [(500, np.float32), (600, np.float64)])
def test_sums_are_exact(depth: int, dtype: type) -> None:
    """Of the largest weights there are, on either side of what float32 holds."""
    layer = Dense("l", ("a",), (1, depth), 2)
    source = TensorType("uint8", (0.01,), 3)
    record = Quantization(FLOAT, TensorType("int8", (1.0,), 0))
    network = network_of(layer, record, [source])
    weight = np.full((2, depth), 127, np.int8)
    weight[1, ::2] = -127
    assert reference._for_sums(weight).dtype == dtype
    x = np.full((1, depth), 255, np.uint8)
    x[0, 0] = 254
    weights = {"l.weight": weight, "l.bias": np.zeros(2, np.float32)}
    got = reference.run_layer(network, weights, layer, x)
    np.testing.assert_array_equal(got, naive(network, weights, layer, x))


@settings(max_examples=200, deadline=None)
@given(st.floats(2.0**-21, 2, width=32), st.integers(-(2**52), 2**52), st.floats(-500, 500))
def test_float64_is_exact_where_there_is_no_fused_multiply_add(
    scale: float, shift: int, near: float
) -> None:
    """For shifts as they are made, and results that are not clipped: see docs/adr/0028."""
    b = np.float32(shift * 2.0**-44)
    a = np.float32(np.clip(round((near - b) / scale), -(2**31), 2**31 - 1))
    got = fused_multiply_add(a, np.float32(scale), b)
    assert got == np.float32(np.float64(a) * np.float64(scale) + np.float64(b))


@st.composite
def types(draw: st.DrawFn) -> TensorType:
    dtype = draw(st.sampled_from(["uint8", "int8"]))
    return TensorType(dtype, (draw(SCALES),), draw(st.integers(*RANGES[dtype])))


@st.composite
def convolutions(draw: st.DrawFn) -> Conv2d:
    kind = draw(st.sampled_from(["full", "depthwise", "pointwise", "grouped"]))
    activation = draw(st.sampled_from(["none", "relu", "relu6", "hardswish", "hardsigmoid"]))
    channels, out = draw(SIZES), draw(SIZES)
    shape = (draw(st.integers(1, 2)), channels, draw(SIZES), draw(SIZES))
    if kind == "pointwise":
        return Conv2d("l", ("a",), shape, out, (1, 1), bias=True, activation=activation)
    groups = {"full": 1, "depthwise": channels, "grouped": 2}[kind]
    if kind == "depthwise":
        out = channels
    if kind == "grouped":
        shape, out = (shape[0], channels * 2, *shape[2:]), out * 2
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    # Borders wide enough for at least one pixel, and at times wider than the kernel.
    before = [draw(st.integers(0, 3)) for _ in range(2)]
    after = [draw(st.integers(max(0, k - 1), 3)) for k in kernel]
    strides = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = (*before, *after)
    return Conv2d(
        "l", ("a",), shape, out, kernel, strides, padding, groups, True, activation=activation
    )


def network_of(layer: Layer, record: Quantization, sources: list[TensorType]) -> QuantizedModel:
    """Put a layer behind what quantises its inputs, all of which have the first's shape or NC11."""
    steps: list[Layer] = []
    records = {"l": record}
    for name, shape, source in zip(layer.inputs, layer.in_shapes, sources, strict=True):
        previous = INPUT
        if shape != layer.in_shape:
            steps.append(GlobalAvgPool("p", (INPUT,), layer.in_shape, keep_map=True))
            previous = "p"
        if source != FLOAT:
            steps.append(Quantize(name, (previous,), shape))
            records[name] = Quantization(source)
    model = Model("m", "M", {}, layer.in_shape, (*steps, layer))
    return QuantizedModel(model, records)


def elements(data: st.DataObject, shape: tuple[int, ...], of: TensorType) -> Any:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    if of == FLOAT:
        return rng.normal(0, 50, shape).astype(np.float32)
    low, high = of.limits
    return rng.integers(low, high + 1, shape).astype(of.dtype)


def check(layer: Layer, record: Quantization, sources: list[TensorType], data: Any) -> Any:
    network = network_of(layer, record, sources)
    weights = {}
    for name, shape in layer.parameters.items():
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
        whole = rng.integers(-128, 128, shape).astype(np.int8)
        unit = (record.before or record.output).scale or (0.1,)
        bias = rng.normal(0, 30 * unit[0], shape)
        weights[name] = bias.astype(np.float32) if len(shape) == 1 else whole
    xs = [elements(data, s, of) for s, of in zip(layer.in_shapes, sources, strict=True)]
    got = reference.run_layer(network, weights, layer, *xs)
    want = naive(network, weights, layer, *xs)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)
    return got


def record_for(layer: Any, source: TensorType, data: st.DataObject) -> Quantization:
    """Draw types of which sums fill a good part, or a little, or all and more."""
    count = data.draw(st.sampled_from([1, layer.out_shape[1]]))
    spreads = data.draw(st.lists(st.floats(8, 4096), min_size=count, max_size=count))
    tabled = layer.activation.startswith("hard")
    before = data.draw(types()) if tabled else None
    output = data.draw(types() if tabled else st.one_of(types(), types(), st.just(FLOAT)))
    unit = ((before or output).scale or (0.1,))[0]
    scales = tuple(unit / (source.scale[0] * spread) for spread in spreads)
    return Quantization(output, TensorType("int8", scales, 0), before)


@settings(max_examples=120, deadline=None)
@given(convolutions(), types(), st.data())
def test_convolutions(layer: Conv2d, source: TensorType, data: st.DataObject) -> None:
    check(layer, record_for(layer, source, data), [source], data)


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, st.integers(1, 40), types(), st.data())
def test_dense(batch: int, out: int, depth: int, source: TensorType, data: Any) -> None:
    activation = data.draw(st.sampled_from(["none", "relu6", "hardsigmoid"]))
    layer = Dense("l", ("a",), (batch, depth), out, activation=activation)
    check(layer, record_for(layer, source, data), [source], data)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["pool", "map", "scale", "add", "add float32"]),
    st.tuples(st.integers(1, 2), SIZES, SIZES, SIZES),
    st.tuples(types(), types(), types()),
    st.data(),
)
def test_the_others(kind, shape, three, data) -> None:
    *sources, to = three
    if kind in ("pool", "map"):
        layer: Layer = GlobalAvgPool("l", ("a",), shape, keep_map=kind == "map")
        del sources[1]
    elif kind == "scale":
        layer = Scale("l", ("a", "b"), shape)
    elif kind == "add":
        layer = Add("l", ("a", "b"), shape)
    else:
        layer, sources[1] = Add("l", ("a", INPUT), shape), FLOAT
    check(layer, Quantization(to), sources, data)


@pytest.mark.parametrize("zero_point", [0, 3, 255])
def test_borders_are_the_zero_point(zero_point: int) -> None:
    """A map of zero points, bordered, is 0 everywhere: what comes out is the bias."""
    layer = Conv2d("l", ("a",), (1, 3, 4, 4), 2, (3, 3), padding=(1, 1, 1, 1), bias=True)
    source, to = TensorType("uint8", (0.37,), zero_point), TensorType("uint8", (0.5,), 7)
    network = network_of(layer, Quantization(to, TensorType("int8", (0.01,), 0)), [source])
    rng = np.random.default_rng(0)
    weights = {
        "l.weight": rng.integers(-127, 128, (2, 3, 3, 3)).astype(np.int8),
        "l.bias": np.array([3.0, -1.0], np.float32),
    }
    x = np.full((1, 3, 4, 4), zero_point, np.uint8)
    got = reference.run_layer(network, weights, layer, x)
    assert (got[0, 0] == 13).all()
    assert (got[0, 1] == 5).all()
