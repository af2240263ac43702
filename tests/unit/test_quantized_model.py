"""Which layers may compute in integers, what stands between them and float32, and tables."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tvm_mobilenet.errors import InputError, QuantizationError
from tvm_mobilenet.models.quantized import reference, requantization
from tvm_mobilenet.models.quantized.arithmetic import dequantized, saturated
from tvm_mobilenet.models.quantized.lowering import lowered
from tvm_mobilenet.models.quantized.model import (
    FLOAT,
    Dequantize,
    Quantization,
    Quantize,
    QuantizedModel,
    limits_of,
)
from tvm_mobilenet.models.quantized.tables import activation_table, exponentials
from tvm_mobilenet.models.spec import (
    INPUT,
    Activate,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Model,
    Softmax,
)
from tvm_mobilenet.models.tensors import TensorType

U8 = TensorType("uint8", (0.1,), 10)
W8 = TensorType("int8", (0.02,), 0)
SHAPE = (1, 2, 3, 3)


def conv(name: str = "c", source: str = INPUT, **options) -> Conv2d:
    return Conv2d(name, (source,), SHAPE, 2, (1, 1), **{"bias": True, **options})


def model_of(*layers: Layer, **options) -> Model:
    return Model("m", "M", {}, layers[0].in_shape, layers, **options)


QUANTIZE = Quantize("q", (INPUT,), SHAPE)


@pytest.mark.parametrize(
    ("output", "weight", "before", "says"),
    [
        (TensorType("int32"), W8, None, "an output has type int32"),
        (TensorType("uint8", (0.1, 0.2), 0), W8, None, "2 scales"),
        (U8, TensorType("int8", (0.1,), 3), None, "int8 and zero point 3"),
        (U8, TensorType("uint8", (0.1,), 0), None, "a weight has type uint8"),
        (U8, TensorType("uint8", (0.1, 0.2), 151), None, "151, with 2 scales"),
        (U8, TensorType(), None, "a weight has type float32"),
        (U8, W8, FLOAT, "a table reads float32"),
    ],
)
def test_a_record_is_of_types_that_can_be(output, weight, before, says) -> None:
    with pytest.raises(QuantizationError, match=says):
        Quantization(output, weight, before)


@pytest.mark.parametrize(
    ("layer", "record", "says"),
    [
        (conv(source="q"), Quantization(U8), "'c' is a Conv2d and has a type of weight: False"),
        (conv(source="q", bias=False), Quantization(U8, W8), "a batch norm or no bias"),
        (conv(source="q", batch_norm=1e-3), Quantization(U8, W8), "a batch norm or no bias"),
        (conv(source="q", activation="hardswish"), Quantization(U8, W8), "type before it: False"),
        (conv(source="q"), Quantization(U8, W8, U8), "type before it: True"),
        (conv(source="q", activation="hardswish"), Quantization(FLOAT, W8, U8), "only sums that"),
        (
            conv(source="q"),
            Quantization(U8, TensorType("int8", (0.1,) * 3, 0)),
            "3 scales for 2 output channels",
        ),
        (conv(), Quantization(U8, W8), "reads 'input', which is float32"),
        (GlobalAvgPool("c", ("q",), SHAPE), Quantization(FLOAT), "has an output of float32"),
        (GlobalAvgPool("c", ("q",), SHAPE), Quantization(U8, W8), "type of weight: True"),
        (Quantize("c", ("q",), SHAPE), Quantization(U8), "reads 'q', which is uint8"),
        (Dequantize("c", ("q",), SHAPE), Quantization(U8), "a Dequantize, which has no integer"),
        (Activate("c", ("q",), SHAPE, "relu"), None, "computes in float32 and reads 'q'"),
        (Dequantize("c", (INPUT,), SHAPE), None, "reads 'input', which is float32"),
        (Quantize("c", (INPUT,), SHAPE), None, "quantises, and has no record"),
    ],
)
def test_what_cannot_compute_is_refused(layer, record, says) -> None:
    records = {"q": Quantization(U8)} | ({} if record is None else {"c": record})
    with pytest.raises(QuantizationError, match=says):
        QuantizedModel(model_of(QUANTIZE, layer), records)


def test_records_of_nothing_and_of_the_input() -> None:
    with pytest.raises(QuantizationError, match="'d' is no layer"):
        QuantizedModel(model_of(conv()), {"d": Quantization(U8)})
    records = {INPUT: Quantization(U8), "c": Quantization(U8, W8)}
    with pytest.raises(QuantizationError, match="is float32 in the network and uint8"):
        QuantizedModel(model_of(conv()), records)
    raw = QuantizedModel(model_of(conv(), input_dtype="uint8"), records)
    weights = {"c.weight": np.ones((2, 2, 1, 1), np.int8), "c.bias": np.zeros(2, np.float32)}
    x = np.full(SHAPE, 20, np.uint8)
    # Two products of 10 * 0.1 and 0.02 are 0.04, which is less than half of 0.1.
    assert (reference.run(raw, weights, x)["c"] == 10).all()
    with pytest.raises(InputError, match=r"give shape .* and type uint8"):
        reference.run(raw, weights, x.astype(np.float32))


def test_steps_stand_where_elements_meet_float32() -> None:
    layers = (
        conv("a", batch_norm=1e-3, bias=False),
        conv("b", "a"),
        Activate("f", ("b",), SHAPE, "hardswish"),
        conv("c", "f"),
        Add("s", ("c", "f"), SHAPE),
        Activate("g", ("s",), SHAPE, "relu"),
    )
    records = {name: Quantization(U8, W8) for name in "abc"} | {"s": Quantization(U8)}
    network = lowered(model_of(*layers, outputs=("g", "s", "b")), records, {INPUT: U8, "f": U8})
    assert [f"{layer.name}({', '.join(layer.inputs)})" for layer in network.model.layers] == [
        "input.quantized(input)",
        "a(input.quantized)",
        "b(a)",
        "b.dequantized(b)",
        "f(b.dequantized)",
        "f.quantized(f)",
        "c(f.quantized)",
        "s(c, f)",
        "s.dequantized(s)",
        "g(s.dequantized)",
    ]
    assert network.model.outputs == ("g", "s.dequantized", "b.dequantized")
    folded = network.model.layer("a")
    assert folded == replace(layers[0], inputs=("input.quantized",), batch_norm=None, bias=True)
    with pytest.raises(QuantizationError, match="say how 'f' is quantised"):
        lowered(model_of(*layers), records, {INPUT: U8})


def test_sums_of_more_than_32_bits_are_refused() -> None:
    layer = Dense("d", ("q",), (1, 70000), 1)
    records = {"q": Quantization(U8), "d": Quantization(U8, W8)}
    network = QuantizedModel(model_of(Quantize("q", (INPUT,), (1, 70000)), layer), records)
    weights = {"d.weight": np.full((1, 70000), 127, np.int8), "d.bias": np.zeros(1, np.float32)}
    with pytest.raises(QuantizationError, match=f"can be {127 * 255 * 70000}, and 32 bits"):
        requantization.of_sums(network, layer, weights)
    weights["d.weight"][:, ::2] = -127  # sums that cancel in the end pass through larger ones
    with pytest.raises(QuantizationError, match="and 32 bits"):
        requantization.of_sums(network, layer, weights)
    weights["d.weight"][:, ::2] = 0
    x = np.full((1, 70000), 24.5, np.float32)
    assert reference.run(network, weights, x)["d"] == 255


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e37])
def test_scales_too_far_apart_are_refused(scale: float) -> None:
    far = TensorType("uint8", (scale,), 0)
    network = QuantizedModel(
        model_of(QUANTIZE, GlobalAvgPool("p", ("q",), SHAPE)),
        {"q": Quantization(U8), "p": Quantization(far)},
    )
    x = np.ones(SHAPE, np.float32)
    with pytest.raises(QuantizationError, match=r"the scales of 'p' .* too far apart"):
        reference.run(network, {}, x)


def test_rounding_is_to_even_and_what_is_no_number_is_the_least() -> None:
    values = np.array([0.5, 1.5, 2.5, -3.0, 254.5, 255.5, np.inf, -np.inf, np.nan], np.float32)
    assert saturated(values, U8).tolist() == [0, 2, 2, 0, 254, 255, 255, 0, 0]
    signed = TensorType("int8", (0.1,), 0)
    assert saturated(-values, signed).tolist() == [0, -2, -2, 3, -128, -128, -128, 127, -128]


def test_every_number_comes_back() -> None:
    of = TensorType("int8", (0.3,), -7)
    every = np.arange(-128, 128).astype(np.int8).reshape(1, 256)
    network = QuantizedModel(
        model_of(Quantize("q", (INPUT,), (1, 256)), Dequantize("d", ("q",), (1, 256))),
        {"q": Quantization(of)},
    )
    got = reference.run(network, {}, dequantized(every, of))
    np.testing.assert_array_equal(got["q"], every)
    np.testing.assert_array_equal(
        got["d"], np.float32(0.3) * np.arange(-121, 135, dtype="f4")[None]
    )


def test_clipping_activations_are_limits() -> None:
    assert limits_of("none", U8) == (0, 255)
    assert limits_of("relu", U8) == (10, 255)
    assert limits_of("relu6", U8) == (10, 70)
    assert limits_of("relu6", TensorType("uint8", (6 / 255,), 0)) == (0, 255)
    assert limits_of("relu6", TensorType("int8", (0.01,), -128)) == (-128, 127)


@pytest.mark.parametrize("source", [U8, TensorType("int8", (0.1,), -118)])
def test_an_activation_alone_is_a_table(source: TensorType) -> None:
    to = TensorType("uint8", (1 / 255,), 0)
    table = activation_table("hardsigmoid", source, to)
    numbers = 0.1 * (np.arange(256) - 10)
    exact = np.clip(numbers + 3, 0, 6) / 6 * 255
    assert np.abs(table - exact).max() < 0.5 + 1e-9
    network = QuantizedModel(
        model_of(Quantize("q", (INPUT,), (1, 256)), Activate("h", ("q",), (1, 256), "hardsigmoid")),
        {"q": Quantization(source), "h": Quantization(to)},
    )
    np.testing.assert_array_equal(reference.run(network, {}, numbers[None])["h"], table[None])


@pytest.mark.parametrize(("features", "largest"), [(1, 2**23), (128, 2**23), (1000, 2**20)])
def test_exponentials(features: int, largest: int) -> None:
    table = exponentials(U8, features)
    np.testing.assert_allclose(table / largest, np.exp(-0.1 * np.arange(256)), atol=0.5 / largest)
    assert table[0] == largest
    assert features * int(table[0]) <= 2**30


def test_softmax_in_integers() -> None:
    shape, to = (2, 37), TensorType("uint8", (1 / 256,), 0)
    network = QuantizedModel(
        model_of(Quantize("q", (INPUT,), shape), Softmax("s", ("q",), shape)),
        {"q": Quantization(U8), "s": Quantization(to)},
    )
    x = np.random.default_rng(0).normal(5, 3, shape).astype(np.float32)
    got = reference.run(network, {}, x)
    exact = np.exp(0.1 * got["q"].astype(float))
    exact /= exact.sum(axis=1, keepdims=True)
    assert np.abs(got["s"] / 256 - exact).max() < 0.5001 / 256
    one = np.full((2, 37), -100.0)
    one[:, 3] = 100
    assert reference.run(network, {}, one)["s"].max() == 255  # 1 is 256, which is clipped


def test_values_of_another_type_are_refused() -> None:
    network = QuantizedModel(model_of(QUANTIZE), {"q": Quantization(U8)})
    with pytest.raises(InputError, match="type float32"):
        reference.run_layer(network, {}, QUANTIZE, np.zeros(SHAPE, np.uint8))
    with pytest.raises(InputError, match=r"give shape \(1, 2, 3, 3\)"):
        reference.run(network, {}, np.zeros((1, 2, 3, 4)))


def test_the_integer_reference_never_imports_tvm() -> None:
    code = (
        "import sys; import tvm_mobilenet.models.quantized.reference, "
        "tvm_mobilenet.quantization.quality; "
        "print([n for n in sys.modules if n.split('.')[0] in ('tvm', 'tvm_ffi', 'onnx')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
