"""The quantised ONNX file: what ONNX Runtime makes of it, layer by layer."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from tvm_mobilenet.errors import OutputError
from tvm_mobilenet.models import build
from tvm_mobilenet.models.network import Network
from tvm_mobilenet.models.onnx_qdq import to_qdq, write_qdq
from tvm_mobilenet.models.quantized import reference
from tvm_mobilenet.models.quantized.model import FLOAT, QuantizedModel
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.models.tensors import TensorType
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.quantization.calibration import quantize

IMAGES = [np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)]


def quantized(name: str) -> Network:
    """Return a small network in integers."""
    model = build(name, alpha=0.25 if name == "v1" else 0.35, resolution=32, classes=10)
    made = quantize(model, initialize(model), IMAGES)
    return Network(made.model.model, made.weights, "arrays", records=made.model.records)


def values(network: Network, proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Return what ONNX Runtime computes for every layer."""
    inside = [layer.name for layer in network.model.layers[:-1]]
    proto.graph.output.extend(map(onnx.helper.make_empty_tensor_value_info, inside))
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {INPUT: IMAGES[0]}), strict=True))


@pytest.mark.parametrize("name", ["v1", "v2", "v3-small"])
def test_every_layer_is_the_references_but_for_a_few_roundings(name: str) -> None:
    """A bias in units of sums and a product in float32 move few elements, by one; a table two."""
    network = quantized(name)
    model = QuantizedModel(network.model, network.records)
    found = values(network, to_qdq(network)) | {INPUT: IMAGES[0]}
    differences = []
    for layer in network.model.layers:
        if not model.type_of(layer.name).quantized:
            continue
        inputs = (found[value] for value in layer.inputs)
        wanted = reference.run_layer(model, network.weights, layer, *inputs)
        assert found[layer.name].dtype == wanted.dtype, layer.name
        differences.append(np.abs(found[layer.name].astype(int) - wanted).reshape(-1))
        tabled = network.records[layer.name].before is not None
        assert differences[-1].max() <= 1 + tabled, layer.name
    every = np.concatenate(differences)
    assert (every > 0).mean() < 0.02


def test_ends_in_the_references_answer(tmp_path: Path) -> None:
    network = quantized("v1")
    write_qdq(network, tmp_path / "q.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "q.onnx")
    (got,) = session.run(None, {INPUT: IMAGES[0]})
    model = QuantizedModel(network.model, network.records)
    wanted = reference.run(model, network.weights, IMAGES[0])[network.model.outputs[0]]
    np.testing.assert_allclose(got, wanted, atol=0.02)
    assert got.argmax() == wanted.argmax()


def test_is_what_runtimes_recognise(tmp_path: Path) -> None:
    """ReLU6 is in the range, weights are int8, biases int32; all convolutions are integers."""
    exported = to_qdq(quantized("v1"))
    operators = Counter(node.op_type for node in exported.graph.node)
    assert not operators.keys() & {"Clip", "BatchNormalization"}
    kinds = {t.name: numpy_helper.to_array(t).dtype for t in exported.graph.initializer}
    assert kinds["conv1.weight.int8"] == np.int8
    assert kinds["conv1.bias.int32"] == np.int32
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(exported.SerializeToString(), options)
    made = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert made["QLinearConv"] == operators["Conv"] == 27


def test_a_bias_that_32_bits_do_not_hold_is_float() -> None:
    network = quantized("v1")
    weights = {**network.weights, "conv1.bias": network.weights["conv1.bias"] + np.float32(1e9)}
    exported = to_qdq(dataclasses.replace(network, weights=weights))
    stored = {t.name: numpy_helper.to_array(t) for t in exported.graph.initializer}
    assert "conv1.bias.int32" not in stored
    np.testing.assert_array_equal(stored["conv1.float.bias"], weights["conv1.bias"])


def test_sums_that_leave_as_float_can_be_rounded() -> None:
    network = quantized("v2")
    floats = [n for n, record in network.records.items() if record.output == FLOAT]
    assert len(floats) > 5
    to = TensorType("uint8", (0.5,), 100)
    found = values(network, to_qdq(network, dict.fromkeys(floats, to)))
    for name in floats:
        elements = found[name] / 0.5
        np.testing.assert_array_equal(elements, np.rint(elements))


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        write_qdq(quantized("v1"), tmp_path / "none" / "q.onnx")
    assert not list(tmp_path.iterdir())
