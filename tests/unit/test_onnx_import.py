"""ONNX files as exporters write them: the same layers come out, and the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_nets import SPELLINGS, Net
from onnxruntime import InferenceSession

from tvm_mobilenet.models import reference
from tvm_mobilenet.models.importer import Imported, import_onnx
from tvm_mobilenet.models.spec import Conv2d, Dense, GlobalAvgPool, Operator, Scale, Softmax


def taken(net: Net, folder: Path, *outputs: str, **options: int) -> Imported:
    """Import a network; what its layers compute is what onnx's evaluator says."""
    imported = import_onnx(net.save(folder / "net.onnx", *outputs), **options)
    x = np.random.default_rng(1).standard_normal(imported.model.input_shape)
    ours = reference.run(imported.model, imported.weights, x, keep_layers=True)
    theirs = imported.expected(x)
    assert set(imported.model.outputs) <= set(theirs)
    for name, want in theirs.items():
        assert reference.relative_error(ours[name], want) < 1e-6, name
    return imported


def kinds(imported: Imported) -> list[str]:
    return [
        layer.operator if isinstance(layer, Operator) else type(layer).__name__
        for layer in imported.model.layers
    ]


CASES = [(kind, spelling) for kind, some in SPELLINGS.items() for spelling in some]


@pytest.mark.parametrize(("kind", "spelling"), CASES)
def test_an_activation_in_every_spelling(kind: str, spelling: str, tmp_path: Path) -> None:
    net = Net()
    y = net.act(net.norm(net.conv("image", 8, 3)), kind, spelling)
    (layer,) = taken(net, tmp_path, y).model.layers
    assert isinstance(layer, Conv2d)
    assert (layer.activation, layer.bias, layer.batch_norm is None) == (kind, False, False)


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 18, 22])
def test_opsets(opset: int, tmp_path: Path) -> None:
    net = Net(opset=opset)
    y = net.act(net.norm(net.conv("image", 8, 3, strides=[2, 2])), "relu6", "clip")
    pooled = net.op("GlobalAveragePool", y)
    logits = net.op(
        "Gemm", net.op("Flatten", pooled), net.const(net.weight(8, 5)), net.const(np.ones(5))
    )
    found = taken(net, tmp_path, net.op("Softmax", logits, axis=1))
    assert kinds(found) == ["Conv2d", "GlobalAvgPool", "Dense", "Softmax"]


@pytest.mark.parametrize(
    ("operator", "opset", "attributes"),
    [("Softmax", 11, {"axis": 1}), ("Hardmax", 9, {"axis": 1}), ("LRN", 13, {"size": 3})],
)
def test_constants_are_computed_as_their_opset_says(
    operator: str, opset: int, attributes: dict[str, int], tmp_path: Path
) -> None:
    """onnx's own evaluator is wrong about each of these."""
    net = Net(opset=opset)
    constant = net.op(operator, net.const(net.weight(1, 3, 16, 16)), **attributes)
    path = net.save(tmp_path / "net.onnx", net.op("Add", net.conv("image", 3, 1), constant))
    imported = import_onnx(path)
    x = np.zeros(imported.model.input_shape, np.float32)
    ours = reference.run(imported.model, imported.weights, x)
    (want,) = InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": x})
    assert reference.relative_error(ours, want) < 1e-6


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("size", [15, 16])
def test_auto_pad(auto: str, size: int, tmp_path: Path) -> None:
    net = Net((1, 3, size, size))
    y = net.conv("image", 4, 3, auto_pad=auto, strides=[2, 2])
    (layer,) = taken(net, tmp_path, net.depthwise(y, 5, auto_pad=auto)).model.layers[:1]
    assert isinstance(layer, Conv2d)
    even = {"SAME_UPPER": (0, 0, 1, 1), "SAME_LOWER": (1, 1, 0, 0), "VALID": (0,) * 4}[auto]
    assert layer.padding == (even if size == 16 or auto == "VALID" else (1, 1, 1, 1))


@pytest.mark.parametrize("opset", [10, 13, 18])
def test_a_pad_in_front_joins_the_convolution(opset: int, tmp_path: Path) -> None:
    net = Net(opset=opset)
    widths = [0, 0, 0, 0, 0, 0, 1, 1]
    if opset < 11:
        padded = net.op("Pad", "image", pads=widths, mode="constant")
    elif opset < 18:
        padded = net.op("Pad", "image", net.const(widths, np.int64), net.const(0.0))
    else:
        some = net.const([0, 0, 1, 1], np.int64)
        padded = net.op("Pad", "image", some, "", net.const([2, 3], np.int64))
    (layer,) = taken(
        net, tmp_path, net.conv(padded, 4, 3, strides=[2, 2], pads=[0] * 4)
    ).model.layers
    assert isinstance(layer, Conv2d)
    assert layer.padding == (0, 0, 1, 1)


def test_a_pad_with_ones_stays(tmp_path: Path) -> None:
    net = Net()
    padded = net.op("Pad", "image", net.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64), net.const(1.0))
    assert kinds(taken(net, tmp_path, net.conv(padded, 4, 3))) == ["Pad", "Conv2d"]


@pytest.mark.parametrize("spelling", ["affine", "short"])
def test_batch_norm_as_mul_and_add(spelling: str, tmp_path: Path) -> None:
    net = Net()
    y = net.act(net.norm(net.norm(net.conv("image", 8, 3, bias=True), spelling)), "relu")
    assert kinds(taken(net, tmp_path, y)) == ["Conv2d"]


def test_a_bias_behind_and_a_scale_of_one_number(tmp_path: Path) -> None:
    net = Net()
    y = net.op("Add", net.conv("image", 8, 3), net.const(np.arange(8.0).reshape(8, 1, 1)))
    net.channels[y] = 8
    halved = net.op("Div", net.conv(y, 4), net.const(2.0))
    flipped = net.op("Sub", net.const(1.0), net.conv(halved, 6))
    first, second, third = taken(net, tmp_path, flipped).model.layers
    assert isinstance(first, Conv2d)
    assert (first.bias, first.batch_norm) == (True, None)
    assert isinstance(second, Conv2d)
    assert second.batch_norm == 0.0
    assert isinstance(third, Conv2d)


def test_batch_norm_before_a_padded_convolution_stays(tmp_path: Path) -> None:
    net = Net()
    assert kinds(taken(net, tmp_path, net.conv(net.norm("image"), 4, 3))) == [
        "BatchNormalization",
        "Conv2d",
    ]


def test_a_scale_for_every_pixel_stays(tmp_path: Path) -> None:
    net = Net()
    y = net.op("Mul", net.conv("image", 4, 3), net.const(net.weight(1, 4, 16, 16)))
    assert kinds(taken(net, tmp_path, y)) == ["Conv2d", "Mul"]


def test_constants_as_nodes_and_through_identity(tmp_path: Path) -> None:
    net = Net()
    net.as_nodes = True
    weight = net.op("Identity", net.const(net.weight(4, 3, 3, 3)))
    y = net.op("Conv", net.op("Identity", "image"), weight, pads=[1] * 4)
    y = net.op("Dropout", net.op("Relu", y))
    found = taken(net, tmp_path, y)
    assert kinds(found) == ["Conv2d"]
    assert found.model.params == 108


def test_squeeze_and_excite_and_a_residual(tmp_path: Path) -> None:
    net = Net()
    x = net.conv("image", 16, 3)
    y = net.excite(net.act(net.depthwise(x, 5), "hardswish", "late"), 4, "spelled")
    y = net.add(net.norm(net.conv(y, 16)), x)
    found = taken(net, tmp_path, net.act(y, "relu"))
    assert kinds(found) == [
        "Conv2d", "Conv2d", "GlobalAvgPool", "Conv2d", "Conv2d", "Scale", "Conv2d", "Add",
        "Activate",
    ]  # fmt: skip
    gate = found.model.layers[4]
    assert isinstance(gate, Conv2d)
    assert gate.activation == "hardsigmoid"


def test_squeeze_and_excite_of_dense_layers(tmp_path: Path) -> None:
    """As some exporters write it: the pool drops the map, a Reshape brings it back."""
    net = Net()
    x = net.conv("image", 8, 3)
    y = net.op("ReduceMean", x, axes=[2, 3], keepdims=0)
    for features, kind in ((4, "relu"), (8, "hardsigmoid")):
        product = net.op("MatMul", y, net.const(net.weight(12 - features, features)))
        y = net.act(net.op("Add", product, net.const(net.weight(features))), kind)
    y = net.op("Reshape", y, net.const([-1, 8, 1, 1], np.int64))
    layers = taken(net, tmp_path, net.op("Mul", y, x)).model.layers
    assert [type(layer) for layer in layers] == [Conv2d, GlobalAvgPool, Conv2d, Conv2d, Scale]


@pytest.mark.parametrize("pool", ["GlobalAveragePool", "AveragePool", "ReduceMean"])
@pytest.mark.parametrize("flatten", ["Flatten", "Reshape", "Squeeze", "Shape"])
@pytest.mark.parametrize("dense", ["Gemm", "MatMul", "Conv"])
def test_heads(pool: str, flatten: str, dense: str, tmp_path: Path) -> None:
    """Pool, classifier and softmax, in the order and the words of five frameworks."""
    net = Net(("N", 3, 8, 8), opset=13)
    y = net.conv("image", 6, 3)
    size = {"AveragePool": {"kernel_shape": [8, 8]}, "ReduceMean": {"axes": [-1, 2]}}
    y = net.op(pool, y, **size.get(pool, {}))

    def flat(x: str) -> str:
        if flatten == "Flatten":
            shaped = net.op("Flatten", x)
        elif flatten == "Squeeze":
            shaped = net.op("Squeeze", x, net.const([2, 3], np.int64))
        else:
            shape = net.const([-1, net.channels[x]], np.int64)
            if flatten == "Shape":  # PyTorch's view(x.size(0), -1)
                zero = net.const(0, np.int64)
                batch = net.op("Gather", net.op("Shape", x), zero, axis=0)
                parts = (
                    net.op("Unsqueeze", batch, net.const([0], np.int64)),
                    net.const([-1], np.int64),
                )
                shape = net.op("Concat", *parts, axis=0)
            shaped = net.op("Reshape", x, shape)
        return str(shaped)

    if dense == "Conv":
        logits = flat(net.conv(y, 1001, bias=True))
    elif dense == "Gemm":
        weight, bias = net.const(net.weight(1001, 6)), net.const(net.weight(1001))
        logits = net.op("Gemm", flat(y), weight, bias, transB=1, alpha=0.5, beta=2.0)
    else:
        product = net.op("MatMul", flat(y), net.const(net.weight(6, 1001)))
        logits = net.op("Add", net.const(net.weight(1, 1001)), product)
    found = taken(net, tmp_path, net.op("Softmax", logits), batch=2)
    assert [type(layer) for layer in found.model.layers] == [Conv2d, GlobalAvgPool, Dense, Softmax]
    assert found.model.output_shape == (2, 1001)
    assert not any(
        layer.keep_map for layer in found.model.layers if isinstance(layer, GlobalAvgPool)
    )


def test_nhwc_with_transposes_around_every_convolution(tmp_path: Path) -> None:
    """As tf2onnx without its optimizer: only the first transposition is left."""
    net = Net((1, 16, 16, 3))
    net.channels["image"] = 3

    def conv(x: str, channels: int, kernel: int, groups: int = 1) -> str:
        channels_first = net.op("Transpose", x, perm=[0, 3, 1, 2])
        net.channels[channels_first] = net.channels[x]
        y = net.conv(channels_first, channels, kernel, groups)
        back = net.op("Transpose", y, perm=[0, 2, 3, 1])
        net.channels[back] = channels
        return str(back)

    def normed(x: str) -> str:
        scaled = net.op("Mul", x, net.const(net.weight(net.channels[x])))
        return net.act(
            str(net.op("Add", scaled, net.const(net.weight(net.channels[x])))), "relu6", "clip"
        )

    x = normed(conv("image", 8, 3))
    y = normed(conv(x, 8, 3, 8))
    gate = net.op("ReduceMean", y, axes=[1, 2], keepdims=1)
    net.channels[gate] = 8
    gate = net.act(conv(str(gate), 8, 1), "hardsigmoid")
    y = conv(str(net.op("Mul", y, gate)), 8, 1)
    y = net.op("Add", x, y)
    padded = net.op("Pad", y, net.const([0, 0, 0, 0, 0, 1, 1, 0], np.int64))
    net.channels[padded] = 8
    y = normed(conv(str(padded), 12, 1))
    both = net.op("Concat", y, net.op("Softsign", y), axis=3)
    pooled = net.op("ReduceMean", both, axes=[1, 2], keepdims=0)
    found = taken(net, tmp_path, net.op("MatMul", pooled, net.const(net.weight(24, 5))))
    assert kinds(found) == [
        "Transpose", "Conv2d", "Conv2d", "GlobalAvgPool", "Conv2d", "Scale", "Conv2d", "Add",
        "Conv2d", "Softsign", "Concat", "GlobalAvgPool", "Dense",
    ]  # fmt: skip


def test_what_is_not_ours_stays_itself(tmp_path: Path) -> None:
    """A trunk with a segmentation head, several outputs, a split in two."""
    net = Net()
    x = net.act(net.conv("image", 8, 3, strides=[2, 2]), "relu")
    scales = net.const([1, 1, 2, 2])
    wide = net.op("Resize", x, net.const([]), scales, mode="nearest")
    dilated = net.conv(x, 6, 3, dilations=[2, 2], pads=[2] * 4)
    one, other = net.op("Split", x, net.const([3, 5], np.int64), axis=1, outputs=2)
    joined = net.op("Concat", dilated, one, other, axis=1)
    best = net.op("ArgMax", joined, axis=1, keepdims=0)
    found = taken(net, tmp_path, wide, joined, best)
    assert sorted(kinds(found)) == [
        "ArgMax",
        "Concat",
        "Conv2d",
        "Conv2d",
        "Resize",
        "Slice",
        "Slice",
    ]
    assert [found.model.layer(name).out_shape for name in found.model.outputs] == [
        (1, 8, 16, 16), (1, 14, 8, 8), (1, 8, 8),
    ]  # fmt: skip
    assert found.model.macs == 6 * 64 * 8 * 9 + 8 * 64 * 27


def test_names_that_no_compiler_takes_are_kept_apart(tmp_path: Path) -> None:
    net = Net()
    first = net.conv("image", 4, 3)
    second = net.conv(first, 4)
    net.nodes[0].output[0] = net.nodes[1].input[0] = "a/b:0"
    net.nodes[1].output[0] = "a.b:0"
    names = [layer.name for layer in taken(net, tmp_path, "a.b:0").model.layers]
    assert second
    assert names == ["a/b:0", "a.b:0_"]
