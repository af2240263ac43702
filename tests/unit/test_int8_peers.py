"""Peers in integers: their files compute the same network, and what has none is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from test_onnx_qdq import IMAGES, quantized

from tvm_mobilenet.bench import peers
from tvm_mobilenet.bench.int8_files import write_in_integers
from tvm_mobilenet.bench.int8_types import signed, types_of_sums
from tvm_mobilenet.bench.litert_int8 import write_int8_tflite
from tvm_mobilenet.errors import PeerError
from tvm_mobilenet.models.quantized import reference
from tvm_mobilenet.models.quantized.model import QuantizedModel
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.models.tensors import TensorType


@pytest.mark.parametrize("name", ["v1", "v2", "v3-small"])
@pytest.mark.parametrize("peer", ["onnxruntime", "openvino", "litert"])
def test_peers_end_in_the_references_answer(name: str, peer: str, tmp_path: Path) -> None:
    network = quantized(name)
    write_in_integers(network, [peer], tmp_path, IMAGES[0])
    got = peers.PEERS[peer](tmp_path, 1, IMAGES[0])()
    model = QuantizedModel(network.model, network.records)
    wanted = reference.run(model, network.weights, IMAGES[0])[network.model.outputs[0]]
    np.testing.assert_allclose(got.reshape(wanted.shape), wanted, atol=0.03)
    assert got.argmax() == wanted.argmax()


@pytest.mark.parametrize("name", ["v1", "v2", "v3-small"])
@pytest.mark.filterwarnings("ignore:.*experimental_preserve_all_tensors.*:UserWarning")
def test_litert_is_within_one_element_of_every_layer(name: str, tmp_path: Path) -> None:
    """Two behind a hard swish or sigmoid, which here is no table but rounds twice."""
    from ai_edge_litert.interpreter import Interpreter

    network = quantized(name)
    write_in_integers(network, ["litert"], tmp_path, IMAGES[0])
    interpreter = Interpreter(
        model_path=str(tmp_path / peers.TFLITE_FILE), experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    image = np.ascontiguousarray(np.moveaxis(IMAGES[0], 1, -1))
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    at = {detail["name"]: detail["index"] for detail in interpreter.get_tensor_details()}

    model, rounded = (
        QuantizedModel(network.model, network.records),
        types_of_sums(network, IMAGES[0]),
    )
    found = {INPUT: IMAGES[0]}
    for layer in network.model.layers:
        if layer.name not in network.records:
            continue
        value = np.moveaxis(interpreter.get_tensor(at[layer.name]), -1, 1).astype(int)
        of = model.type_of(layer.name)
        if not of.quantized:
            to = signed(rounded[layer.name])
            found[layer.name] = (to.scale[0] * (value - to.zero_point)).astype(np.float32)
            continue
        found[layer.name] = (value + 128).astype(of.dtype)  # types here are unsigned
        inputs = (found[read] for read in layer.inputs)
        wanted = reference.run_layer(model, network.weights, layer, *inputs).astype(int)
        tabled = network.records[layer.name].before is not None
        assert np.abs(value + 128 - wanted).max() <= 1 + tabled, layer.name


def test_signed_types_stand_for_the_same_numbers() -> None:
    assert signed(TensorType("uint8", (0.5,), 3)) == TensorType("int8", (0.5,), -125)
    assert signed(TensorType("int8", (0.5,), 3)) == TensorType("int8", (0.5,), 3)


def test_what_has_no_form_in_integers_is_named(tmp_path: Path) -> None:
    network = quantized("v1")
    with pytest.raises(PeerError, match="not written for ncnn"):
        write_in_integers(network, ["litert", "ncnn"], tmp_path, IMAGES[0])
    large = {**network.weights, "conv1.bias": network.weights["conv1.bias"] + np.float32(1e9)}
    changed = dataclasses.replace(network, weights=large)
    with pytest.raises(PeerError, match="a bias of 'conv1' exceeds 32 bits"):
        write_int8_tflite(changed, {}, tmp_path / peers.TFLITE_FILE)
    assert not list(tmp_path.iterdir())
