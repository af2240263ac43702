"""The oracle itself, against a naive loop and against ONNX's reference evaluator."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tvm_mobilenet.errors import (
    InputError,
    InvalidModelError,
    VerificationError,
    WeightsError,
)
from tvm_mobilenet.models import build, convolution, mobilenet_v1, reference
from tvm_mobilenet.models.onnx_export import to_onnx
from tvm_mobilenet.models.spec import (
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Model,
    Scale,
    Softmax,
)
from tvm_mobilenet.models.weights import initialize

Array = NDArray[Any]


def naive_conv2d(layer: Conv2d, weights: dict[str, Array], x: Array) -> Array:
    """Follow the definition, one output element at a time."""
    weight = weights[f"{layer.name}.weight"]
    per_group_in, per_group_out = weight.shape[1], layer.out_channels // layer.groups
    y = np.zeros(layer.out_shape)
    for n, o, row, column in itertools.product(*map(range, layer.out_shape)):
        total = 0.0
        for c, i, j in itertools.product(*map(range, weight.shape[1:])):
            source_row = row * layer.strides[0] + i - layer.padding[0]
            source_column = column * layer.strides[1] + j - layer.padding[1]
            if 0 <= source_row < x.shape[2] and 0 <= source_column < x.shape[3]:
                channel = o // per_group_out * per_group_in + c
                total += float(weight[o, c, i, j]) * x[n, channel, source_row, source_column]
        if layer.bias:
            total += float(weights[f"{layer.name}.bias"][o])
        if layer.batch_norm is not None:
            gamma, beta, mean, variance = (
                float(weights[f"{layer.name}.bn.{part}"][o])
                for part in ("gamma", "beta", "mean", "variance")
            )
            total = gamma * (total - mean) / (variance + layer.batch_norm) ** 0.5 + beta
        y[n, o, row, column] = naive_activation(total, layer.activation)
    return y


def naive_activation(x: float, name: str) -> float:
    """Follow the papers' definitions, one number at a time."""
    gate = 0.0 if x <= -3 else 1.0 if x >= 3 else (x + 3) / 6
    return {
        "none": x,
        "relu": max(x, 0.0),
        "relu6": min(max(x, 0.0), 6.0),
        "hardsigmoid": gate,
        "hardswish": x * gate,
    }[name]


@st.composite
def convolutions(draw: st.DrawFn) -> Conv2d:
    small = st.integers(1, 3)
    kernel = (draw(small), draw(small))
    padding = tuple(draw(st.integers(0, 2)) for _ in range(4))
    height, width = (draw(st.integers(taps, 7)) for taps in kernel)
    groups = draw(small)
    per_group_in, per_group_out = draw(small), draw(small)
    return Conv2d(
        name="c",
        inputs=("input",),
        in_shape=(draw(st.integers(1, 2)), groups * per_group_in, height, width),
        out_channels=groups * per_group_out,
        kernel=kernel,
        strides=(draw(small), draw(small)),
        padding=padding,  # type: ignore[arg-type]
        groups=groups,
        bias=draw(st.booleans()),
        batch_norm=draw(st.sampled_from([None, 1e-3])),
        activation=draw(st.sampled_from(["none", "relu", "relu6", "hardswish", "hardsigmoid"])),
    )


def random_weights(layer: Layer, rng: np.random.Generator) -> dict[str, Array]:
    return {
        name: (rng.uniform(0.1, 2, shape) if name.endswith("variance") else rng.normal(0, 2, shape))
        for name, shape in layer.parameters.items()
    }


@settings(max_examples=150, deadline=None)
@given(layer=convolutions(), seed=st.integers(0, 2**32 - 1))
def test_convolution_against_the_naive_loop(layer: Conv2d, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights, x = random_weights(layer, rng), rng.normal(0, 2, layer.in_shape)
    got = reference.run_layer(layer, weights, x)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, naive_conv2d(layer, weights, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 5, 67])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 5), (2, 4)])
def test_depthwise_in_chunks_of_channels(
    channels: int, kernel: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = Conv2d(
        "c", ("input",), (2, channels, 6, 5), channels, kernel, (2, 1), (2, 1, 1, 2), channels
    )
    assert layer.kind == "depthwise"
    rng = np.random.default_rng(channels)
    weights, x = random_weights(layer, rng), rng.normal(size=layer.in_shape)
    whole = reference.run_layer(layer, weights, x)
    monkeypatch.setattr(convolution, "_CACHED_ELEMENTS", 4 * whole.shape[2] * whole.shape[3])
    np.testing.assert_array_equal(reference.run_layer(layer, weights, x), whole)
    np.testing.assert_allclose(whole, naive_conv2d(layer, weights, x), rtol=1e-12, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9)),
    outputs=st.integers(1, 9),
    bias=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_head_against_python_sums(
    shape: tuple[int, int], outputs: int, bias: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(*shape, 2, 3))
    pooled = reference.run_layer(GlobalAvgPool("p", ("input",), maps.shape), {}, maps)
    dense = Dense("d", ("p",), shape, outputs, bias)
    weights = random_weights(dense, rng)
    logits = reference.run_layer(dense, weights, pooled)
    softmax = reference.run_layer(Softmax("s", ("d",), logits.shape), {}, logits)
    for n in range(shape[0]):
        means = [sum(map(float, maps[n, c].flat)) / 6 for c in range(shape[1])]
        expected = [
            sum(mean * float(weight) for mean, weight in zip(means, row, strict=True))
            for row in weights["d.weight"]
        ]
        if bias:
            expected = [a + float(b) for a, b in zip(expected, weights["d.bias"], strict=True)]
        np.testing.assert_allclose(logits[n], expected, rtol=1e-11, atol=1e-12)
        total = sum(np.exp(value) for value in expected)
        np.testing.assert_allclose(softmax[n], [np.exp(v) / total for v in expected], rtol=1e-10)


def test_softmax_of_large_logits_stays_finite() -> None:
    layer = Softmax("s", ("input",), (1, 3))
    got = reference.run_layer(layer, {}, [[1e4, 1e4, -1e4]])
    np.testing.assert_array_equal(got, [[0.5, 0.5, 0.0]])


def test_add_scale_and_dense_against_python() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 2, 3, 2, 4))
    factors = reference.run_layer(GlobalAvgPool("p", ("y",), y.shape, keep_map=True), {}, y)
    assert factors.shape == (2, 3, 1, 1)
    added = reference.run_layer(Add("a", ("x", "y"), x.shape), {}, x, y)
    scaled = reference.run_layer(Scale("s", ("x", "p"), x.shape), {}, x, factors)
    for n, c, i, j in np.ndindex(*x.shape):
        assert added[n, c, i, j] == x[n, c, i, j] + y[n, c, i, j]
        mean = sum(map(float, y[n, c].flat)) / 8
        assert scaled[n, c, i, j] == pytest.approx(x[n, c, i, j] * mean, rel=1e-12)
    dense = Dense("d", ("input",), (2, 3), 4, activation="hardswish")
    weights = random_weights(dense, rng)
    got = reference.run_layer(dense, weights, x[:, :, 0, 0])
    linear = x[:, :, 0, 0] @ weights["d.weight"].T + weights["d.bias"]
    want = [[naive_activation(value, "hardswish") for value in row] for row in linear]
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("resolution", [32, 45])
@pytest.mark.parametrize("name", ["v1", "v2", "v3-large", "v3-small"])
def test_every_layer_against_the_onnx_evaluator(name: str, padding: str, resolution: int) -> None:
    model = build(name, alpha=0.125, resolution=resolution, classes=12, batch=2, padding=padding)
    weights = initialize(model)
    exported = to_onnx(model, weights)
    del exported.graph.output[:]
    exported.graph.output.extend(
        helper.make_tensor_value_info(layer.name, TensorProto.FLOAT, layer.out_shape)
        for layer in model.layers
    )
    x = np.random.default_rng(3).uniform(-1, 1, model.input_shape).astype(np.float32)
    expected = ReferenceEvaluator(exported).run(None, {"input": x})
    got = reference.run(model, weights, x, keep_layers=True)
    assert list(got) == [layer.name for layer in model.layers]
    for layer, want in zip(model.layers, expected, strict=True):
        # The evaluator computes in float32.
        assert reference.relative_error(got[layer.name], want) < 1e-5, layer.name
    np.testing.assert_array_equal(reference.run(model, weights, x), got["softmax"])


def test_batch_is_image_by_image() -> None:
    model = mobilenet_v1(0.125, 40, classes=5, batch=3)
    weights = initialize(model)
    x = np.random.default_rng(0).uniform(-1, 1, model.input_shape)
    one = mobilenet_v1(0.125, 40, classes=5)
    singly = np.concatenate([reference.run(one, weights, image[None]) for image in x])
    np.testing.assert_allclose(reference.run(model, weights, x), singly, rtol=1e-12)


@pytest.mark.alone
def test_whole_network_is_fast_enough_for_every_compile() -> None:
    model = mobilenet_v1()
    weights = initialize(model)
    x = np.zeros(model.input_shape)
    seconds = []
    for _ in range(2):
        start = time.process_time()
        reference.run(model, weights, x)
        seconds.append(time.process_time() - start)
    # Of processor: on two cores half of it.
    assert min(seconds) < 4.0


def test_inputs_and_weights_are_left_alone() -> None:
    layer = Conv2d("c", ("input",), (1, 2, 3, 3), 2, (1, 1), bias=True, activation="relu6")
    rng = np.random.default_rng(0)
    weights, x = random_weights(layer, rng), rng.normal(size=layer.in_shape)
    before = {name: array.copy() for name, array in weights.items()}, x.copy()
    reference.run_layer(layer, weights, x)
    np.testing.assert_array_equal(x, before[1])
    for name, array in weights.items():
        np.testing.assert_array_equal(array, before[0][name])


def test_nan_reaches_the_output() -> None:
    layer = Conv2d("c", ("input",), (1, 1, 1, 1), 1, (1, 1), activation="relu6")
    weights = {"c.weight": np.ones((1, 1, 1, 1))}
    assert np.isnan(reference.run_layer(layer, weights, [[[[np.nan]]]])).all()


def test_relative_error() -> None:
    assert reference.relative_error([3.0, 4.0], [3.0, 4.0]) == 0
    assert reference.relative_error([3.0, 4.5], [3.0, 4.0]) == pytest.approx(0.1)
    assert reference.relative_error([0.0], [0.0]) == 0
    assert reference.relative_error([1.0], [0.0]) == np.inf
    assert np.isnan(reference.relative_error([np.nan], [0.0]))
    assert np.isnan(reference.relative_error([np.nan], [1.0]))
    with pytest.raises(VerificationError, match="shape"):
        reference.relative_error([1.0], [[1.0]])


def test_max_abs_error() -> None:
    assert reference.max_abs_error([[1.0, -2.0]], [[1.5, 1.0]]) == 3.0
    assert reference.max_abs_error([], []) == 0.0
    assert np.isnan(reference.max_abs_error([np.nan, 1.0], [1.0, 1.0]))
    with pytest.raises(VerificationError, match="shape"):
        reference.max_abs_error([1.0, 2.0], [1.0])


MODEL = mobilenet_v1(0.125, 32, classes=3)


@pytest.mark.parametrize("x", [np.zeros((1, 3, 32, 33)), np.zeros((3, 32, 32)), 0.0])
def test_wrong_input_shape(x: Any) -> None:
    with pytest.raises(InputError, match=r"give shape \(1, 3, 32, 32\)"):
        reference.run(MODEL, initialize(MODEL), x)


def test_input_that_is_no_array_of_numbers() -> None:
    with pytest.raises(InputError, match="not an array of numbers"):
        reference.run(MODEL, initialize(MODEL), "image.jpg")


def test_wrong_weights() -> None:
    with pytest.raises(WeightsError, match="missing"):
        reference.run(MODEL, {}, np.zeros(MODEL.input_shape))
    layer = MODEL.layer("pool")
    dense = Dense("d", ("input",), (1, 2), 3)
    with pytest.raises(WeightsError, match=r"d\.weight is missing"):
        reference.run_layer(dense, {}, np.zeros((1, 2)))
    with pytest.raises(WeightsError, match=r"d\.weight is of shape \(2, 3\)"):
        reference.run_layer(dense, {"d.weight": np.zeros((2, 3))}, np.zeros((1, 2)))
    with pytest.raises(InputError, match="takes 1 inputs, not 0"):
        reference.run_layer(layer, {})


def test_unknown_layers_and_activations_are_named() -> None:
    class Mystery(Softmax):
        pass

    class Stranger(Layer):
        pass

    x = np.array([[1.0, 2.0]])
    assert reference.run_layer(Mystery("s", ("input",), (1, 2)), {}, x).sum() == pytest.approx(1)
    with pytest.raises(InvalidModelError, match="cannot run Stranger 'x'"):
        reference.run_layer(Stranger("x", ("input",), (1, 2)), {}, x)
    layer = Conv2d("c", ("input",), (1, 1, 1, 1), 1, (1, 1))
    strange = replace(layer, activation="snake")  # type: ignore[arg-type]
    with pytest.raises(InvalidModelError, match="unknown activation 'snake'"):
        reference.run_layer(strange, {"c.weight": np.ones((1, 1, 1, 1))}, [[[[1.0]]]])


def test_layers_with_several_consumers_are_kept_as_long_as_needed() -> None:
    first = Softmax("a", ("input",), (1, 4))
    layers = (first, Softmax("b", ("input",), (1, 4)), Softmax("c", ("a",), (1, 4)))
    model = Model(name="m", title="M", options={}, input_shape=(1, 4), layers=layers)
    x = np.arange(4.0)[None]
    kept = reference.run(model, {}, x, keep_layers=True)
    assert list(kept) == ["a", "b", "c"]
    np.testing.assert_array_equal(kept["a"], kept["b"])
    np.testing.assert_array_equal(reference.run(model, {}, x), kept["c"])


def test_the_reference_never_imports_tvm() -> None:
    code = (
        "import sys, numpy as np; from tvm_mobilenet.models import build, reference, weights; "
        "m = build('v1', alpha=0.125, resolution=32); "
        "reference.run(m, weights.initialize(m), np.zeros(m.input_shape)); "
        "print([n for n in sys.modules if n.split('.')[0] in ('tvm', 'tvm_ffi', 'onnx', 'scipy')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
