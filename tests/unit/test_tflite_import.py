"""TensorFlow Lite files become networks: the same numbers and elements as LiteRT's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from quantized_files import differences, image, outputs
from test_quantized_import import kinds
from tflite_files import (
    INT8,
    by_litert,
    by_tensor,
    channels_last,
    edited,
    in_float,
    in_halves,
    in_integers,
    in_nine_bits,
    leave_elements,
    of,
    to_bytes,
)

from tvm_mobilenet.bench.tflite import Graph
from tvm_mobilenet.errors import InvalidModelError, TfliteFileError, UnsupportedOperatorError
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.network import Network, network_from
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.models.tensors import TensorType


@pytest.mark.parametrize("name", ["v1", "v2", "v3-small"])
@pytest.mark.parametrize("halves", [False, True])
def test_files_in_floating_point(name: str, *, halves: bool, tmp_path: Path) -> None:
    """The image is NHWC, as in the file; weights of float16 are read as float32."""
    path = in_float(name, tmp_path / "net.tflite")
    if halves:
        edited(path, in_halves)
    network = network_from(path, None, 0)
    x = channels_last(image(name))
    assert (network.model.input_shape, network.records) == (x.shape, {})
    ours = reference.run(network.model, network.weights, x)
    np.testing.assert_allclose(ours, by_litert(path, x)[0], atol=2e-6)
    assert kinds(network)["Transpose"] == 1


def agrees(network: Network, path: Path, x: np.ndarray, read: np.ndarray) -> int:
    """Hold each layer to LiteRT's elements and the answer to its own; return how many layers.

    Parameters
    ----------
    read : ndarray
        The image as the network takes it, where LiteRT takes another.
    """
    answer, theirs = by_litert(path, x)
    apart = differences(network, theirs, read)
    assert max(one.max() for one in apart.values()) <= 1
    (ours,) = outputs(network, read)
    assert ours.argmax() == answer.argmax()
    if answer.dtype == np.float32:
        np.testing.assert_allclose(ours, answer, atol=0.02)
    return len(apart)


@pytest.mark.parametrize("name", ["v1", "v2", "v3-small"])
def test_files_in_integers(name: str, tmp_path: Path) -> None:
    path, x = in_integers(name, tmp_path / "net.tflite"), channels_last(image(name))
    network = network_from(path, None, 0)
    assert agrees(network, path, x, x) > 25
    assert not {"(Conv2d)", "(Dense)", "(Add)", "(GlobalAvgPool)"} & kinds(network).keys()


def test_elements_of_int8_are_taken_and_given_as_numbers(tmp_path: Path) -> None:
    path = edited(in_integers("v2", tmp_path / "net.tflite"), leave_elements)
    network = network_from(path, None, 0)
    assert network.model.input_dtype == "float32"
    scale = network.records["input.quantized"].output.scale[0]
    zero = network.records["input.quantized"].output.zero_point
    x = channels_last(image("v2"))
    elements = np.clip(np.rint(x / np.float32(scale)) + zero, -128, 127).astype(np.int8)
    assert agrees(network, path, elements, x) > 60
    assert outputs(network, x)[0].dtype == np.float32


@pytest.mark.parametrize(("name", "changes"), [("v1", ()), ("v2", ()), ("v1", (in_nine_bits,))])
def test_the_older_bytes(name: str, changes: Any, tmp_path: Path) -> None:
    """One scale for a weight, of unsigned elements; the image is bytes.

    Less another zero point than 128, some weights are beyond int8.
    """
    made = in_integers(name, tmp_path / "n.tflite")
    path = edited(made, leave_elements, by_tensor, to_bytes, *changes)
    network = network_from(path, None, 0)
    assert network.model.input_dtype == "uint8"
    assert network.records[INPUT].output.dtype == "uint8"
    shape = network.model.input_shape
    x = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    assert agrees(network, path, x, x) > 25
    assert kinds(network)["Conv2d"] > 25
    assert not kinds(network)["(Conv2d)"]
    types = {record.weight.dtype for record in network.records.values() if record.weight}
    assert ("uint8" in types) == bool(changes)


def walk(graph: Graph, of: TensorType | None) -> str:
    """Add an operator of every kind without weights; return what the last is called."""
    shapes = {"x": (1, 3, 9, 8)}
    graph.values["x"] = graph.values[INPUT]
    if of is not None:
        graph.values["x"] = graph.operator(
            "QUANTIZE", [graph.values[INPUT]], "x", shapes["x"], "QuantizeOptions", of=of
        )

    def add(name: str, kind: str, read: str, shape: Any = None, options: str = "", *,
            constants: Any = (), to: TensorType | None = None, **fields: Any) -> str:  # fmt: skip
        sources = read.split()
        inputs = [graph.values[source] for source in sources]
        for at, (value, dtype) in enumerate(constants):
            kept = None if of is None or dtype is np.int32 else ((0.02,), 0)
            stored = np.int8 if kept else dtype
            elements = np.rint(np.asarray(value) / 0.02) if kept else value
            inputs.append(graph.constant(f"{name}.c{at}", elements, stored, kept))
        shapes[name] = shapes[sources[0]] if shape is None else shape
        made = None if of is None else to or of
        graph.values[name] = graph.operator(
            kind, inputs, name, shapes[name], options, of=made, **fields
        )
        return name

    windows = {"strideH": 2, "strideW": 1, "filterHeight": 3, "filterWidth": 2, "padding": "SAME"}
    vector = ([[[[0.5, -0.25, 1.0]]]], np.float32)
    unit = TensorType("int8", (1 / 256,), -128)
    both = TensorType("int8", (1 / 128,), 0)
    add("a", "ADD", "x", options="AddOptions", constants=[vector], fusedActivationFunction="RELU6")
    add("b", "SUB", "x a", options="SubOptions", fusedActivationFunction="RELU_N1_TO_1")
    add("c", "MAX_POOL_2D", "b", (1, 3, 5, 8), "Pool2DOptions", **windows)
    add("d", "AVERAGE_POOL_2D", "a", (1, 3, 5, 8), "Pool2DOptions", **windows)
    add("e", "CONCATENATION", "c d", (1, 6, 5, 8), "ConcatenationOptions", axis=3)
    pads = ([[0, 0], [1, 0], [0, 2], [0, 0]], np.int32)
    add("f", "PAD", "e", (1, 6, 6, 10), "PadOptions", constants=[pads])
    add("g", "LOGISTIC", "f", to=unit)
    add("h", "MUL", "f g", options="MulOptions")
    add("t", "TANH", "h", to=both)
    add("i", "MAXIMUM", "h f", options="MaximumMinimumOptions")
    add("j", "MINIMUM", "i h", options="MaximumMinimumOptions")
    add("p", "L2_NORMALIZATION", "t", options="L2NormOptions", to=both)
    add("o", "MUL", "j p", options="MulOptions")
    add("k", "TRANSPOSE", "o", (1, 6, 10, 6), "TransposeOptions",
        constants=[([0, 2, 1, 3], np.int32)])  # fmt: skip
    add("l", "RELU_N1_TO_1" if of is None else "RELU", "k")
    add(
        "m",
        "MEAN",
        "l",
        (1, 6, 10, 1),
        "ReducerOptions",
        constants=[([2], np.int32)],
        keepDims=True,
    )
    add("u", "SQUEEZE", "m", (1, 6, 10), "SqueezeOptions", squeezeDims=[2])
    add("v", "EXPAND_DIMS", "u", (1, 6, 1, 10), "ExpandDimsOptions", constants=[(1, np.int32)])
    add("n", "RESHAPE", "v", (1, 60), "ReshapeOptions", constants=[([1, 60], np.int32)])
    if of is None:  # which LiteRT has in floating point alone, or of one type with what they read
        add("s", "LOGISTIC", "n")
        add("w", "DIV", "n s", options="DivOptions")
        pads = [([[0, 0], [2, 2]], np.int32), ([0.5], np.float32)]
        add("n", "PADV2", "w", (1, 64), "PadV2Options", constants=pads)
        add("n", "GELU", "n", options="GeluOptions", approximate=True)
        add("n", "ELU", "n")
    add("y", "GELU", "n", options="GeluOptions")
    add("z", "LEAKY_RELU", "y", options="LeakyReluOptions", alpha=0.3)
    add("q", "HARD_SWISH", "z", options="HardSwishOptions")
    return add("r", "SOFTMAX", "q", options="SoftmaxOptions", to=unit, beta=1.0)


@pytest.mark.parametrize("of", [None, TensorType("int8", (0.05,), -10)], ids=["float", "int8"])
def test_operators(of: TensorType | None, tmp_path: Path) -> None:
    """Every tensor is LiteRT's, or an element apart."""
    graph = Graph("walk", (1, 3, 9, 8))
    last = walk(graph, of)
    path = tmp_path / "net.tflite"
    path.write_bytes(graph.packed(last))
    network = network_from(path, None, 0)
    x = channels_last(np.random.default_rng(4).standard_normal((1, 3, 9, 8)).astype(np.float32))
    answer, theirs = by_litert(path, x)
    if of is None:
        ours = reference.run(network.model, network.weights, x)
        np.testing.assert_allclose(ours, answer, atol=1e-6)
        return
    apart = differences(network, theirs, x)
    assert {name: one.max() for name, one in apart.items() if one.max() > 1} == {}
    assert len(apart) > 10


def unmade(model: Any) -> None:
    model.subgraphs[0].outputs = [0, len(model.subgraphs[0].tensors) - 1]
    model.subgraphs[0].operators = model.subgraphs[0].operators[:1]


def custom(model: Any) -> None:
    code = model.operatorCodes[of(model, "ADD")[0].opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = b"Frobnicate"


def unknown(model: Any) -> None:
    code = model.operatorCodes[of(model, "ADD")[0].opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.SVDF


def activation(model: Any) -> None:
    of(model, "ADD")[0].builtinOptions.fusedActivationFunction = 5


def without_scales(model: Any) -> None:
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == INT8:
            tensor.quantization = None


def first_of_int8(model: Any) -> Any:
    return next(t for t in model.subgraphs[0].tensors if t.type == INT8)


def no_scale(model: Any) -> None:
    first_of_int8(model).quantization.scale = [0.0]


def not_a_number(model: Any) -> None:
    first_of_int8(model).quantization.scale = [float("nan")]


def zero_point_out_of_range(model: Any) -> None:
    first_of_int8(model).quantization.zeroPoint = [200]


def short_weights(model: Any) -> None:
    tensor = model.subgraphs[0].tensors[of(model, "CONV_2D")[0].inputs[1]]
    model.buffers[tensor.buffer].data = model.buffers[tensor.buffer].data[:-1]


def wrong_axis(model: Any) -> None:
    tensor = model.subgraphs[0].tensors[of(model, "CONV_2D")[0].inputs[1]]
    tensor.quantization.quantizedDimension = 1


def sparse(model: Any) -> None:
    model.subgraphs[0].tensors[0].sparsity = schema.SparsityParametersT()


def no_such_tensor(model: Any) -> None:
    of(model, "ADD")[0].inputs = [0, 10_000]


def no_such_buffer(model: Any) -> None:
    model.subgraphs[0].tensors[1].buffer = 10_000


def no_such_code(model: Any) -> None:
    of(model, "ADD")[0].opcodeIndex = 99


def two_inputs(model: Any) -> None:
    model.subgraphs[0].inputs = [0, 1]


def of_16_bits(model: Any) -> None:
    model.subgraphs[0].tensors[0].type = schema.TensorType.INT16


REFUSED: dict[Callable[[Any], None], tuple[type[Exception], str]] = {
    custom: (UnsupportedOperatorError, r"the node 'block3.add' .* custom operator: Frobnicate"),
    unknown: (UnsupportedOperatorError, r"the node 'block3.add' .*, SVDF, is not taken"),
    activation: (UnsupportedOperatorError, r"'block3.add' .*, ADD, has the activation SIGN_BIT"),
    without_scales: (UnsupportedOperatorError, "'input.quantized' .* is int8 without a scale"),
    no_scale: (TfliteFileError, r"the tensor 'input.quantized' .* scale \(0.0,\)"),
    not_a_number: (TfliteFileError, r"the tensor 'input.quantized' .* scale \(nan,\)"),
    zero_point_out_of_range: (TfliteFileError, r"'input.quantized' .* zero point 200"),
    short_weights: (TfliteFileError, r"the tensor 'conv1.weight' has \d+ bytes, and should"),
    wrong_axis: (TfliteFileError, r"'conv1.weight' has \d+ scales along axis 1"),
    sparse: (UnsupportedOperatorError, "the tensor 'input' .* is sparse"),
    no_such_tensor: (TfliteFileError, r"ADD has tensors \(0, 10000\)"),
    no_such_buffer: (TfliteFileError, "has a buffer that is not there"),
    no_such_code: (TfliteFileError, "a code that is not there"),
    two_inputs: (InvalidModelError, "2 inputs"),
    of_16_bits: (InvalidModelError, "the input 'input' .* is int16"),
    unmade: (TfliteFileError, "nothing .* computes the output 'input'|computes the output"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return in_integers("v2", tmp_path_factory.mktemp("tflite") / "v2.tflite").read_bytes()


@pytest.mark.parametrize("change", REFUSED, ids=lambda change: change.__name__)
def test_what_cannot_be_taken_is_named(change: Any, whole: bytes, tmp_path: Path) -> None:
    kind, words = REFUSED[change]
    path = tmp_path / "net.tflite"
    path.write_bytes(whole)
    with pytest.raises(kind, match=words):
        network_from(edited(path, change), None, 0)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_is_named(share: float, whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(TfliteFileError, match=r"cut or damaged|no TensorFlow Lite file"):
        network_from(path, None, 0)
