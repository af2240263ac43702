"""The integer reference against ONNX's own quantised operators: the same to one element."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from integer_networks import joined_network, older_network
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx_nets import Net

from tvm_mobilenet.models.importer import import_onnx
from tvm_mobilenet.models.network import Network
from tvm_mobilenet.models.onnx_qdq import to_qdq, write_qdq
from tvm_mobilenet.models.quantized import reference
from tvm_mobilenet.models.quantized.model import Dequantize, Quantization, Quantize, QuantizedModel
from tvm_mobilenet.models.reference import relative_error
from tvm_mobilenet.models.spec import INPUT, Conv2d, Model
from tvm_mobilenet.models.tensors import TensorType
from tvm_mobilenet.quantization.calibration import quantize
from tvm_mobilenet.quantization.quality import quality

SHAPE = (2, 6, 9, 8)


def onnx_result(node, **inputs: np.ndarray) -> np.ndarray:
    """Run one node whose inputs are named as they are given."""
    kinds = {np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.int8): TensorProto.INT8}
    kinds |= {np.dtype(np.int32): TensorProto.INT32, np.dtype(np.float32): TensorProto.FLOAT}
    ins = [helper.make_tensor_value_info(n, kinds[x.dtype], x.shape) for n, x in inputs.items()]
    graph = helper.make_graph([node], "g", ins, [helper.make_empty_tensor_value_info("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    return np.asarray(ReferenceEvaluator(model).run(None, inputs)[0])


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize(
    ("groups", "kernel", "strides", "padding"),
    [
        (1, (1, 1), (1, 1), (0, 0, 0, 0)),
        (6, (3, 3), (2, 2), (0, 1, 1, 1)),
        (1, (3, 3), (1, 2), (1, 1, 1, 1)),
    ],
)
def test_qlinearconv(dtype, groups, kernel, strides, padding) -> None:
    rng = np.random.default_rng(0)
    layer = Conv2d("c", ("q",), SHAPE, 6, kernel, strides, padding, groups, bias=True)
    source, to = (
        TensorType(dtype, (0.05,), 13),
        TensorType(dtype, (0.5,), -1 if dtype == "int8" else 99),
    )
    scales = rng.uniform(0.005, 0.02, 6).astype(np.float32)
    network = QuantizedModel(
        Model("m", "M", {}, SHAPE, (Quantize("q", (INPUT,), SHAPE), layer)),
        {
            "q": Quantization(source),
            "c": Quantization(to, TensorType("int8", tuple(map(float, scales)), 0)),
        },
    )
    weight = rng.integers(-127, 128, layer.weight_shape).astype(np.int8)
    bias = rng.integers(-3000, 3000, 6).astype(np.int32)
    x = rng.integers(*source.limits, SHAPE, endpoint=True).astype(dtype)
    weights = {"c.weight": weight, "c.bias": (bias * 0.05 * scales).astype(np.float32)}
    got = reference.run_layer(network, weights, layer, x)
    names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"]
    node = helper.make_node(
        "QLinearConv", names, ["y"], strides=strides, pads=padding, group=groups
    )
    element, number = np.dtype(dtype).type, np.float32
    want = onnx_result(
        node,
        x=x,
        xs=np.array(0.05, number),
        xz=np.array(13, element),
        w=weight,
        ws=scales,
        wz=np.zeros(6, np.int8),
        ys=np.array(0.5, number),
        yz=np.array(to.zero_point, element),
        b=bias,
    )
    difference = np.abs(got.astype(int) - want.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001
    assert 10 < got.std() < 100


@pytest.mark.parametrize("of", [TensorType("uint8", (0.05,), 13), TensorType("int8", (0.3,), -7)])
def test_steps(of: TensorType) -> None:
    layers = (Quantize("q", (INPUT,), SHAPE), Dequantize("d", ("q",), SHAPE))
    network = QuantizedModel(
        Model("m", "M", {}, SHAPE, layers),
        {"q": Quantization(of)},
    )
    x = np.random.default_rng(1).normal(0, 10, SHAPE).astype(np.float32)
    got = reference.run(network, {}, x)
    scale, zero = np.array(of.scale[0], np.float32), np.array(of.zero_point, of.dtype)
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])
    want = onnx_result(node, x=x, s=scale, z=zero)
    difference = np.abs(got["q"].astype(int) - want.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001
    node = helper.make_node("DequantizeLinear", ["x", "s", "z"], ["y"])
    np.testing.assert_array_equal(got["d"], onnx_result(node, x=got["q"], s=scale, z=zero))


def test_an_imported_network_has_islands_of_float32(tmp_path) -> None:
    """What has no integer form reads and leaves float32; all around it computes in integers."""
    net = Net((1, 3, 16, 16))
    x = net.act(net.conv("image", 8, 3, pads=[1, 1, 1, 1]), "relu")
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    pooled = net.op("AveragePool", x, **window, count_include_pad=1)
    x = net.excite(net.depthwise(pooled, pads=[1, 1, 1, 1]), 4)
    y = net.act(net.conv(x, 8, 1), "hardswish")
    imported = import_onnx(net.save(tmp_path / "net.onnx", net.add(y, pooled), pooled))
    model, weights = imported.model, imported.weights
    images = [np.random.default_rng(i).normal(0, 1, (1, 3, 16, 16)) for i in range(3)]
    network = quantize(model, weights, images[:2])
    by_name = {layer.name: type(layer).__name__ for layer in model.layers}
    in_float = {by_name[name] for name in by_name if name not in network.model.records}
    assert in_float == {"Operator"}
    assert {"Conv2d", "Scale", "GlobalAvgPool", "Add"} <= set(by_name.values())
    outputs = reference.run(network.model, network.weights, images[2])
    assert all(outputs[name].dtype == np.float32 for name in network.model.model.outputs)
    assert min(quality(model, weights, network, images[2:]).layers.values()) > 20


def test_pools_joins_and_groups() -> None:
    """Onnxruntime computes the same by QDQ, but for elements next to a tie."""
    made = joined_network()
    x = np.random.default_rng(4).normal(0, 1, made.model.input_shape).astype(np.float32)
    want = reference.run(QuantizedModel(made.model, made.records), made.weights, x)
    (name,) = made.model.outputs
    session = onnxruntime.InferenceSession(
        to_qdq(made).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (got,) = session.run(None, {session.get_inputs()[0].name: x})
    assert relative_error(got, want[name]) < 0.02


@pytest.mark.parametrize("made", [joined_network, older_network])
def test_files_of_pools_joins_groups_and_older_weights_compute_in_integers(
    made: Callable[[], Network], tmp_path: Path
) -> None:
    """What was written is read as what it was: no layer is left in float32."""
    network = made()
    path = tmp_path / "net.onnx"
    write_qdq(network, path)
    read = import_onnx(path)
    floats = [layer for layer in read.model.layers if layer.name not in read.records]
    assert all(isinstance(layer, Dequantize) for layer in floats)
    kinds = {record.weight.dtype for record in read.records.values() if record.weight is not None}
    assert kinds == ({"uint8"} if made is older_network else {"int8"})
    x = np.random.default_rng(4).normal(0, 1, network.model.input_shape).astype(np.float32)
    want, got = (
        reference.run(QuantizedModel(one.model, one.records), one.weights, x)[one.model.outputs[0]]
        for one in (network, read)
    )
    assert relative_error(got, want) < 0.03
