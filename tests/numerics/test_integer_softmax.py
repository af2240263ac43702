"""A softmax of elements equals the reference bit for bit, and other runtimes within an element."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from integer_kernels import NATIVE, flat, ran, skip_unless_here, target_of
from quantized_files import answer, by_onnxruntime, computed, differences, image
from tflite_files import by_litert, channels_last

import tvm_mobilenet as tm
from tvm_mobilenet.bench.tflite import Graph
from tvm_mobilenet.models.network import network_from
from tvm_mobilenet.models.quantized import reference
from tvm_mobilenet.models.quantized.model import Quantization, QuantizedModel
from tvm_mobilenet.models.spec import INPUT, Model, Softmax
from tvm_mobilenet.models.tensors import TensorType
from tvm_mobilenet.verify.integer_case import integer_case

SHARES = TensorType("int8", (1 / 256,), -128)


@pytest.mark.parametrize("name", [NATIVE, "x86-64-v3", "x86-64-v2"])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("classes", [1, 10, 16, 1001])
def test_the_kernel_equals_the_reference(name: str, dtype: str, classes: int) -> None:
    """Lanes of no class hold what would be the largest."""
    skip_unless_here(name)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    work = flat("qsoftmax", classes, (1, 1), batch=3, dtype=dtype, limits=(low, high))
    case = integer_case(work, classes)
    target = target_of(name)
    got = ran(work, target, case.inputs, (case.want.shape, case.dtype))
    assert case.error(got) == 0.0
    assert classes == 1 or np.ptp(case.want[np.isfinite(case.bound)]) > 100


def test_a_classifier_of_onnxruntimes_is_in_integers_to_its_end(tmp_path: Path) -> None:
    path, x = by_onnxruntime("v1", tmp_path, "QDQ"), image("v1")
    network = network_from(path, None, 0)
    (softmax,) = (layer for layer in network.model.layers if isinstance(layer, Softmax))
    apart = differences(network, computed(onnx.load(path), x), x)
    assert apart[softmax.name].max() <= 1
    compiled = tm.compile(network, target="native")
    kernels = [call["kernel"].partition("_")[0] for call in compiled.manifest["calls"]]
    assert kernels[-2:] == ["qsoftmax", "dequantize"]
    assert "softmax" not in kernels
    quantum = network.records[softmax.name].output.scale[0]
    np.testing.assert_allclose(compiled.module(x), answer(path, x), atol=1.01 * quantum)


@pytest.mark.parametrize("scale", [1 / 512, 1 / 16, 0.4])
def test_litert_is_within_an_element(scale: float, tmp_path: Path) -> None:
    of = TensorType("int8", (scale,), 3)
    graph = Graph("softmax", (1, 3, 9, 8))
    shape = (1, 216)
    quantized = graph.operator(
        "QUANTIZE", [graph.values[INPUT]], "q", (1, 3, 9, 8), "QuantizeOptions", of=of
    )
    size = graph.constant("size", shape, np.int32)
    row = graph.operator("RESHAPE", [quantized, size], "row", shape, "ReshapeOptions", of=of)
    graph.values["s"] = graph.operator(
        "SOFTMAX", [row], "s", shape, "SoftmaxOptions", of=SHARES, beta=1.0
    )
    path = tmp_path / "net.tflite"
    path.write_bytes(graph.packed("s"))
    network = network_from(path, None, 0)
    x = channels_last(np.random.default_rng(1).normal(0, 40 * scale, (1, 3, 9, 8)))
    given = x.astype(np.float32)
    _, theirs = by_litert(path, given)
    apart = differences(network, theirs, given)
    assert apart["s"].max() <= 1


def test_what_it_reads_and_gives_may_have_any_zero_point() -> None:
    """Against a softmax in float64: half an element, and what a table in 23 bits leaves."""
    rng = np.random.default_rng(2)
    layer = Softmax("s", (INPUT,), (4, 21))
    for zero, to in ((7, SHARES), (-128, TensorType("int8", (1 / 100,), 20))):
        of = TensorType("int8", (0.07,), zero)
        model = Model("m", "M", {}, layer.in_shape, (layer,), input_dtype="int8")
        network = QuantizedModel(model, {INPUT: Quantization(of), "s": Quantization(to)})
        x = rng.integers(-128, 128, layer.in_shape).astype(np.int8)
        powers = np.exp(0.07 * x.astype(np.float64))
        shares = powers / powers.sum(axis=1, keepdims=True)
        want = np.clip(shares / to.scale[0] + (to.zero_point or 0), -128, 127)
        got = reference.run_layer(network, {}, layer, x)
        np.testing.assert_allclose(got, want, atol=0.501)
        moved = dataclasses.replace(of, zero_point=zero + 1 if zero < 0 else zero - 1)
        other = QuantizedModel(model, network.records | {INPUT: Quantization(moved)})
        np.testing.assert_array_equal(reference.run_layer(other, {}, layer, x), got)
