"""Quantised ONNX files become networks with records: the same elements as ONNX Runtime's."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_nets import Net
from quantized_files import answer, by_onnxruntime, computed, differences, image, outputs, small

from tvm_mobilenet.errors import OnnxFileError, UnsupportedOperatorError
from tvm_mobilenet.models.importer.qoperators import DOMAIN
from tvm_mobilenet.models.network import Network, network_from
from tvm_mobilenet.models.onnx_qdq import to_qdq
from tvm_mobilenet.models.quantized.model import FLOAT, INTEGER_LAYERS, Quantization
from tvm_mobilenet.models.spec import Conv2d, Operator
from tvm_mobilenet.models.tensors import TensorType
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.quantization.calibration import quantize

INTEGERS = {kind.__name__ for kind in INTEGER_LAYERS}
FORMS = [("QDQ", "QUInt8"), ("QDQ", "QInt8"), ("QOperator", "QUInt8")]


def kinds(network: Network) -> Counter[str]:
    """Count layers, those of float32 in brackets."""
    return Counter(
        layer.operator
        if isinstance(layer, Operator)
        else f"{type(layer).__name__}" if layer.name in network.records
        else f"({type(layer).__name__})"
        for layer in network.model.layers
    )  # fmt: skip


@pytest.mark.parametrize(("form", "activations"), FORMS)
@pytest.mark.parametrize("name", ["v1", "v2", "v3-small"])
def test_onnxruntimes_files(name: str, form: str, activations: str, tmp_path: Path) -> None:
    """All is in integers, the softmax too, whose value the tool rounds."""
    path, x = by_onnxruntime(name, tmp_path, form, activations), image(name)
    network = network_from(path, None, 0)
    found = kinds(network)
    assert found["Conv2d"] == sum(isinstance(layer, Conv2d) for layer in small(name).layers)
    assert not found.keys() - INTEGERS - {"(Dequantize)", "(Softmax)"}
    apart = differences(network, computed(onnx.load(path), x), x)
    assert len(apart) > 25
    assert max(one.max() for one in apart.values()) <= (name == "v3-small")
    (ours,), theirs = outputs(network, x), answer(path, x)
    np.testing.assert_allclose(ours, theirs, atol=4 / 255)
    assert ours.argmax() == theirs.argmax()


@pytest.mark.parametrize("name", ["v1", "v3-small"])
def test_what_is_exported_is_read_again(name: str, tmp_path: Path) -> None:
    """Elements, types and tables are what was written; a bias is in units of its sums."""
    model = small(name)
    x = image(name)
    made = quantize(model, initialize(model), [x])
    written = Network(made.model.model, made.weights, "arrays", records=made.model.records)
    onnx.save(to_qdq(written), tmp_path / "q.onnx")
    network = network_from(tmp_path / "q.onnx", None, 0)
    assert kinds(network) == kinds(written)
    for layer, before in zip(network.model.layers, written.model.layers, strict=True):
        ours, theirs = network.records.get(layer.name), written.records.get(before.name)
        assert alike(ours, theirs), layer.name
        if ours is not None and ours.weight is not None:
            weight = network.weights[f"{layer.name}.weight"]
            np.testing.assert_array_equal(weight, written.weights[f"{before.name}.weight"])
    (ours,), (theirs,) = outputs(network, x), outputs(written, x)
    np.testing.assert_allclose(ours, theirs, atol=0.02)


def alike(ours: Quantization | None, theirs: Quantization | None) -> bool:
    """Whether both are the same, but for float32 in the file."""
    if ours is None or theirs is None:
        return ours is theirs
    pairs = [(getattr(ours, part), getattr(theirs, part)) for part in ours.__dataclass_fields__]
    return all(
        a == b
        or (
            (a.dtype, a.zero_point) == (b.dtype, b.zero_point)
            and np.allclose(a.scale, b.scale, rtol=1e-6)
        )
        for a, b in pairs
    )


class Steps(Net):
    """A graph with quantised values and weights."""

    def parameters(self, scale: Any, zero: Any, dtype: Any) -> list[str]:
        return [self.const(scale), self.const(zero, dtype)]

    def rounded(self, x: str, scale: float = 0.05, zero: int = 128, dtype: Any = np.uint8) -> str:
        parameters = self.parameters(scale, zero, dtype)
        y: str = self.op("DequantizeLinear", self.op("QuantizeLinear", x, *parameters), *parameters)
        self.channels[y] = self.channels[x]
        return y

    def integer_conv(
        self, x: str, channels: int, kernel: int = 1, *, low: int = -127, zero: int = 0,
        dtype: Any = np.int8, **attrs: Any,
    ) -> str:  # fmt: skip
        size = (channels, self.channels[x] // attrs.get("group", 1), kernel, kernel)
        values = self.rng.integers(low, min(low + 255, 256), size)
        values.flat[:2] = low, min(low + 254, 255)
        scales = self.rng.uniform(0.001, 0.01, channels)
        zeros = np.full(channels, zero)
        weight = self.op(
            "DequantizeLinear",
            self.const(values, dtype),
            self.const(scales),
            self.const(zeros, dtype),
            axis=0,
        )
        y: str = self.op("Conv", x, weight, **{"pads": [kernel // 2] * 4, **attrs})
        self.channels[y] = channels
        return y


def taken(net: Net, folder: Path, *names: str) -> Network:
    """Read a graph; ONNX Runtime's elements are one apart at most, and its answer is ours."""
    path = net.save(folder / "net.onnx", *names)
    network = network_from(path, None, 0)
    shape, dtype = network.model.input_shape, network.model.input_dtype
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, shape) if dtype == "uint8" else 3 * rng.standard_normal(shape)
    x = x.astype(dtype)
    for name, apart in differences(network, computed(net.model(*names), x), x).items():
        assert apart.max() <= 1, name
    for ours, name in zip(outputs(network, x), names, strict=True):
        theirs = computed(net.model(*names), x)[name]
        np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, atol=0.06)
    return network


def test_an_activation_between_a_convolution_and_its_rounding(tmp_path: Path) -> None:
    """PyTorch's exporter leaves the Clip; adds what is not rounded to what is."""
    net = Steps()
    x = net.rounded("image")
    y = net.rounded(net.act(net.integer_conv(x, 3, 3), "relu6", "clip"), 0.03, 0)
    z = net.rounded(net.op("Add", net.integer_conv(y, 3), y))
    network = taken(net, tmp_path, z)
    assert kinds(network) == {"Quantize": 1, "Conv2d": 2, "Add": 1, "(Dequantize)": 1}
    first, second = (layer for layer in network.model.layers if isinstance(layer, Conv2d))
    assert (first.activation, network.records[second.name].output) == ("relu6", FLOAT)


@pytest.mark.parametrize("kind", ["relu", "relu6", "hardswish", "hardsigmoid"])
def test_an_activation_of_rounded_sums(kind: str, tmp_path: Path) -> None:
    net = Steps()
    y = net.rounded(net.integer_conv(net.rounded("image"), 8), 0.06, 130)
    network = taken(net, tmp_path, net.rounded(net.act(y, kind), 0.05, 10))
    found = kinds(network)
    assert found["Activate"] == (kind in ("relu", "relu6"))  # a table of its own: types differ
    assert found.total() - found["Activate"] == 3


def test_a_hard_swish_that_is_rounded_inside_is_one_table(tmp_path: Path) -> None:
    net = Steps()
    y = net.rounded(net.integer_conv(net.rounded("image"), 8))
    gate = net.rounded(net.op("HardSigmoid", y, alpha=1 / 6, beta=0.5), 1 / 255, 0)
    network = taken(net, tmp_path, net.rounded(net.op("Mul", y, gate), 0.05, 8))
    (layer,) = (layer for layer in network.model.layers if isinstance(layer, Conv2d))
    assert layer.activation == "hardswish"
    assert network.records[layer.name].before == TensorType(
        "uint8", (float(np.float32(0.05)),), 128
    )


@pytest.mark.parametrize(
    ("low", "zero", "integers"), [(0, 128, True), (0, 120, False), (20, 140, True)]
)
def test_weights_of_unsigned_elements(
    low: int, zero: int, *, integers: bool, tmp_path: Path
) -> None:
    """They are int8 less their zero point, or else their layer computes in float32."""
    net = Steps()
    conv = net.integer_conv(net.rounded("image"), 8, low=low, zero=zero, dtype=np.uint8)
    network = taken(net, tmp_path, net.rounded(conv, 0.1))
    assert kinds(network)["Conv2d"] == integers


def test_convolutions_of_many_groups_are_float_islands(tmp_path: Path) -> None:
    for groups, islands in ((8, 0), (16, 1)):
        net = Steps((1, 32, 8, 8))
        conv = net.integer_conv(net.rounded("image"), 16, group=groups)
        assert kinds(taken(net, tmp_path, net.rounded(conv)))["(Conv2d)"] == islands


def test_a_batch_norm_behind_is_in_the_scales(tmp_path: Path) -> None:
    net = Steps()
    network = taken(net, tmp_path, net.rounded(net.norm(net.integer_conv(net.rounded("image"), 8))))
    assert kinds(network) == {"Quantize": 1, "Conv2d": 1, "(Dequantize)": 1}


def test_what_moves_elements_moves_numbers(tmp_path: Path) -> None:
    """NHWC, a pool and a pad of elements between the steps; two roundings alike are one."""
    net = Steps((1, 8, 8, 3))
    net.channels["image"] = 3
    parameters = net.parameters(0.05, 100, np.uint8)
    q = net.op("QuantizeLinear", "image", *parameters)
    moved = net.op("Transpose", q, perm=[0, 3, 1, 2])
    padded = net.op("Pad", moved, net.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
                    net.const(90, np.uint8))  # fmt: skip
    pooled = net.op("MaxPool", padded, kernel_shape=[2, 2])
    x = net.op("DequantizeLinear", pooled, *parameters)
    net.channels[x] = 3
    y = net.integer_conv(x, 8)
    both = net.op("Add", net.rounded(y, 0.2), net.integer_conv(net.rounded(y, 0.2), 8))
    network = taken(net, tmp_path, net.op("Relu", both))
    assert kinds(network)["Conv2d"] == 2
    assert kinds(network)["Quantize"] == 2


def test_borders_between_two_roundings_are_the_convolutions(tmp_path: Path) -> None:
    """Other borders than of 0 are rounded again."""
    net = Steps()
    x = net.rounded("image")
    pads = net.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    y = net.rounded(net.op("Pad", x, pads))
    net.channels[y] = 3
    y = net.rounded(net.integer_conv(y, 8, 3, pads=[0, 0, 0, 0]))
    z = net.rounded(net.op("Pad", y, pads, net.const(0.51)))
    net.channels[z] = 8
    network = taken(net, tmp_path, net.rounded(net.integer_conv(z, 8)))
    assert kinds(network)["Conv2d"] == kinds(network)["Quantize"] == 2
    assert kinds(network)["Pad"] == 1


@pytest.mark.parametrize("group", ["in the file", "computed"])
def test_weights_that_are_quantised_in_the_graph(group: str, tmp_path: Path) -> None:
    """As NNCF writes them, and behind a Transpose."""
    net = Steps()
    parameters = [*net.parameters(net.rng.uniform(0.001, 0.01, 8), np.zeros(8), np.int8)]
    weight = net.op("QuantizeLinear", net.const(net.weight(8, 3, 1, 1)), *parameters, axis=0)
    if group == "computed":
        weight = net.op("Identity", weight)
    weight = net.op("DequantizeLinear", weight, *parameters, axis=0)
    y = net.rounded(net.op("Conv", net.rounded("image"), weight))
    pooled = net.rounded(net.op("Flatten", net.op("GlobalAveragePool", y)))
    dense = net.op(
        "DequantizeLinear",
        net.const(net.rng.integers(-127, 128, (5, 8)), np.int8),
        *net.parameters(net.rng.uniform(0.001, 0.01, 5), np.zeros(5), np.int8),
        axis=0,
    )
    logits = net.op("MatMul", pooled, net.op("Transpose", dense, perm=[1, 0]))
    network = taken(net, tmp_path, net.rounded(logits))
    assert kinds(network) == {
        "Quantize": 1, "Conv2d": 1, "GlobalAvgPool": 1, "Dense": 1, "(Dequantize)": 1,
    }  # fmt: skip


@pytest.mark.parametrize("opset", [11, 17])
def test_a_convolution_of_elements(opset: int, tmp_path: Path) -> None:
    """ONNX's own, with a scale for each channel also where steps have none yet."""
    net = Steps(opset=opset)
    parameters = net.parameters(0.05, 128, np.uint8)
    q = net.op("QuantizeLinear", "image", *parameters)
    weight = net.const(net.rng.integers(-128, 128, (8, 3, 1, 1)), np.int8)
    scales = net.parameters(net.rng.uniform(0.001, 0.01, 8), np.zeros(8), np.int8)
    bias = net.const(net.rng.integers(-1000, 1000, 8), np.int32)
    y = net.op("QLinearConv", q, *parameters, weight, *scales, *parameters, bias)
    network = taken(net, tmp_path, net.op("DequantizeLinear", y, *parameters))
    assert kinds(network) == {"Quantize": 1, "Conv2d": 1, "(Dequantize)": 1}


def test_products_of_elements(tmp_path: Path) -> None:
    """Pools and products as ONNX Runtime has them; what has no integer form of ours is float."""
    net = Steps()
    parameters = net.parameters(0.05, 128, np.uint8)
    x = net.op("QuantizeLinear", "image", *parameters)
    for op in ("QLinearSigmoid", "QLinearLeakyRelu", "QLinearAveragePool"):
        attrs = {"kernel_shape": [2, 2]} if op == "QLinearAveragePool" else {}
        x = net.op(op, x, *parameters, *parameters, domain=DOMAIN, **attrs)
    x = net.op("QLinearConcat", *parameters, x, *parameters, x, *parameters, domain=DOMAIN, axis=1)
    x = net.op("QLinearGlobalAveragePool", x, *parameters, *parameters, domain=DOMAIN)
    weight = net.const(net.rng.integers(-128, 128, (6, 4)), np.int8)
    scales = net.parameters(net.rng.uniform(0.001, 0.01, 4), np.zeros(4), np.int8)
    x = net.op("Flatten", x)
    x = net.op("QLinearMatMul", x, *parameters, weight, *scales, *parameters)
    model = net.model(net.op("DequantizeLinear", x, *parameters))
    onnx.save(model, tmp_path / "net.onnx")
    network = network_from(tmp_path / "net.onnx", None, 0)
    assert kinds(network)["Dense"] == kinds(network)["GlobalAvgPool"] == 1
    image = np.random.default_rng(2).standard_normal((1, 3, 16, 16)).astype(np.float32)
    for name, apart in differences(network, computed(model, image), image).items():
        assert apart.max() <= 1, name


def test_what_is_no_map_and_no_row_is_rounded_as_rows(tmp_path: Path) -> None:
    net = Steps()
    y = net.rounded(net.integer_conv(net.rounded("image"), 8))
    tokens = net.op("Reshape", y, net.const([0, 8, -1], np.int64))
    mixed = net.rounded(net.op("Transpose", net.op("Mul", tokens, tokens), perm=[0, 2, 1]))
    both = net.rounded(net.op("Relu", net.op("Add", mixed, mixed)))
    network = taken(net, tmp_path, net.rounded(net.op("ReduceMean", both, axes=[1], keepdims=0)))
    integer = [layer for layer in network.model.layers if layer.name in network.records]
    assert {len(layer.in_shape) for layer in integer} <= {2, 4}
    assert kinds(network)["Quantize"] == 4


def test_pixels_are_taken_as_bytes(tmp_path: Path) -> None:
    net = Steps(dtype=onnx.TensorProto.UINT8)
    x = net.op("DequantizeLinear", "image", *net.parameters(1 / 127.5, 127, np.uint8))
    net.channels[x] = 3
    network = taken(net, tmp_path, net.rounded(net.integer_conv(x, 8, 3)))
    assert (network.model.input_dtype, kinds(network)["Conv2d"]) == ("uint8", 1)


def test_pixels_that_are_moved_first_are_cast(tmp_path: Path) -> None:
    net = Steps((1, 16, 16, 3), dtype=onnx.TensorProto.UINT8)
    moved = net.op("Transpose", "image", perm=[0, 3, 1, 2])
    x = net.op("DequantizeLinear", moved, *net.parameters(1 / 127.5, 127, np.uint8))
    net.channels[x] = 3
    network = taken(net, tmp_path, net.rounded(net.integer_conv(x, 8, 3)))
    assert (network.model.input_dtype, kinds(network)["Conv2d"]) == ("uint8", 1)
    assert kinds(network)["Cast"] == 1


def test_pixels_that_stand_for_two_things_are_named(tmp_path: Path) -> None:
    net = Steps(dtype=onnx.TensorProto.UINT8)
    x = net.op("DequantizeLinear", "image", *net.parameters(1 / 127.5, 127, np.uint8))
    both = net.op("Add", x, net.op("Cast", "image", to=1))
    with pytest.raises(OnnxFileError, match=r"'Cast_\d' takes the bytes of the image for"):
        network_from(net.save(tmp_path / "net.onnx", both), None, 0)


def test_elements_without_a_step_to_numbers_are_named(tmp_path: Path) -> None:
    """A file whose DequantizeLinear is missing."""
    net = Steps()
    q = net.op("QuantizeLinear", "image", *net.parameters(0.1, 3, np.uint8))
    net.channels[q] = 3
    path = net.save(tmp_path / "net.onnx", net.conv(q, 4))
    with pytest.raises(OnnxFileError, match=r"contradict|Conv_\d.*, Conv, reads"):
        network_from(path, None, 0)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("weight", [True, False], ids=["weight", "value"])
def test_scales_that_cannot_be_are_named(scale: float, *, weight: bool, tmp_path: Path) -> None:
    net = Steps()
    if weight:
        elements = net.const(np.ones((4, 3, 1, 1)), np.int8)
        found = net.op("DequantizeLinear", elements, *net.parameters(scale, 0, np.int8))
        y = net.op("Conv", net.rounded("image"), found)
    else:
        y = net.op("Relu", net.rounded("image", scale))
    with pytest.raises(OnnxFileError, match=r"Linear_\d+', \w+Linear, has the scale"):
        network_from(net.save(tmp_path / "net.onnx", y), None, 0)


def by_another(net: Steps) -> str:
    q = net.op("QuantizeLinear", "image", *net.parameters(0.1, 3, np.uint8))
    return str(net.op("Relu", net.op("DequantizeLinear", q, *net.parameters(0.2, 3, np.uint8))))


def by_channel(net: Steps) -> str:
    parameters = net.parameters([0.1, 0.2, 0.3], [0, 0, 0], np.uint8)
    q = net.op("QuantizeLinear", "image", *parameters, axis=1)
    return str(net.op("DequantizeLinear", q, *parameters, axis=1))


def from_the_image(net: Steps) -> str:
    scale = net.op("ReduceMax", net.op("Abs", "image"), keepdims=0)
    zero = net.const(0, np.uint8)
    return str(
        net.op("DequantizeLinear", net.op("QuantizeLinear", "image", scale, zero), scale, zero)
    )


def dynamic(net: Steps) -> str:
    q, scale, zero = net.op("DynamicQuantizeLinear", "image", outputs=3)
    return str(net.op("DequantizeLinear", q, scale, zero))


def of_16_bits(net: Steps) -> str:
    net.opset = 21
    return net.rounded("image", 0.1, 0, np.int16)


def scaled_product(net: Steps) -> str:
    parameters = net.parameters(0.1, 3, np.uint8)
    q = net.op("Flatten", net.op("QuantizeLinear", "image", *parameters))
    weight = [net.const(np.ones((768, 4)), np.int8), *net.parameters(0.1, 0, np.int8)]
    return str(net.op("QGemm", q, *parameters, *weight, domain=DOMAIN, alpha=2.0))


def too_few(net: Steps) -> str:
    parameters = net.parameters(0.1, 3, np.uint8)
    return str(net.op("QLinearAdd", "image", *parameters, "image", domain=DOMAIN))


def computed_with(net: Steps) -> str:
    parameters = net.parameters(0.1, 3, np.uint8)
    q = net.op("QuantizeLinear", "image", *parameters)
    return str(net.op("DequantizeLinear", net.op("Clip", q), *parameters))


REFUSED = {
    by_another: (OnnxFileError, r"'Dequ\w+_\d', DequantizeLinear, takes .* scale 0.2 .* scale 0.1"),
    by_channel: (UnsupportedOperatorError, r"'Quan\w+_\d', QuantizeLinear, .* 3 scales"),
    from_the_image: (UnsupportedOperatorError, r"'Quan\w+_\d', QuantizeLinear, takes its scale"),
    dynamic: (UnsupportedOperatorError, r"'Dyn\w+_\d'.*depends on the image"),
    of_16_bits: (UnsupportedOperatorError, r"QuantizeLinear, makes a value of int16"),
    scaled_product: (UnsupportedOperatorError, r"'QGemm_\d+', QGemm, has alpha 2"),
    too_few: (OnnxFileError, r"'QLinearAdd_\d' of .*QLinearAdd, lacks an input"),
    computed_with: (UnsupportedOperatorError, r"'Clip_\d', Clip, reads .* elements of uint8"),
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_what_cannot_be_taken_is_named(make: Any, tmp_path: Path) -> None:
    kind, words = REFUSED[make]
    net = Steps()
    path = net.save(tmp_path / "net.onnx", make(net))
    with pytest.raises(kind, match=words):
        network_from(path, None, 0)
