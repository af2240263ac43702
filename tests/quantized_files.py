"""Quantised files as other tools write them, and what their runtimes compute for each layer."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from tvm_mobilenet.models import build
from tvm_mobilenet.models.network import Network
from tvm_mobilenet.models.onnx_export import to_onnx
from tvm_mobilenet.models.quantized import reference
from tvm_mobilenet.models.quantized.arithmetic import dequantized
from tvm_mobilenet.models.quantized.lowering import IN_INTEGERS
from tvm_mobilenet.models.quantized.model import Dequantize, QuantizedModel
from tvm_mobilenet.models.spec import INPUT, Model
from tvm_mobilenet.models.weights import initialize

Values = dict[str, NDArray[Any]]


def small(name: str) -> Model:
    """Return a model of few pixels and ten classes; squeezed maps of V3 are more than a pixel."""
    alpha, resolution = (0.25, 32) if name == "v1" else (0.35, 64 if name == "v3-small" else 32)
    return build(name, alpha=alpha, resolution=resolution, classes=10)


def image(name: str) -> NDArray[np.float32]:
    shape = small(name).input_shape
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


class _Images(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, x: NDArray[np.float32], name: str = INPUT) -> None:
        self._left = iter([{name: x}])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._left, None)


def by_onnxruntime(name: str, folder: Path, form: str, activations: str = "QUInt8") -> Path:
    """Quantise a model by ONNX Runtime's own tool, its batch norms folded before."""
    model, plain, folded = small(name), *(folder / f"{i}.onnx" for i in range(2))
    onnx.save(to_onnx(model, initialize(model)), plain)
    options = session_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    onnxruntime.InferenceSession(plain, options)
    return quantized_by_onnxruntime(folded, folder / "2.onnx", image(name), form, activations)


def quantized_by_onnxruntime(
    source: Path, target: Path, x: NDArray[np.float32], form: str, activations: str = "QUInt8"
) -> Path:
    """Quantise a file by ONNX Runtime's own tool, by what one input makes of it."""
    (given,) = onnx.load(source).graph.input
    with _quiet():
        quantize_static(
            source,
            target,
            _Images(x, given.name),
            quant_format=QuantFormat[form],
            per_channel=True,
            activation_type=QuantType[activations],
            weight_type=QuantType.QInt8,
        )
    return target


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tool's advice out of the tests' output."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def session_options() -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return options


def computed(proto: onnx.ModelProto, x: NDArray[Any]) -> Values:
    """Return every tensor that ONNX Runtime computes."""
    every = onnx.ModelProto()
    every.CopyFrom(proto)
    known = {output.name for output in every.graph.output}
    names = [name for node in every.graph.node for name in node.output if name not in known]
    every.graph.output.extend(map(onnx.helper.make_empty_tensor_value_info, names))
    session = onnxruntime.InferenceSession(every.SerializeToString(), session_options())
    (source,) = session.get_inputs()
    outputs = [output.name for output in session.get_outputs()]
    return dict(zip(outputs, session.run(None, {source.name: x}), strict=True))


def answer(path: Path, x: NDArray[Any]) -> NDArray[Any]:
    """Return what ONNX Runtime computes of the file as it is."""
    session = onnxruntime.InferenceSession(path, session_options())
    (source,) = session.get_inputs()
    found: NDArray[Any] = session.run(None, {source.name: x})[0]
    return found


def differences(network: Network, theirs: Values, x: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return, for each layer in integers, by how many elements it differs on what others computed.

    A layer reads what the other runtime has, and what the reference makes of that where the other
    one has no such tensor.
    """
    model = QuantizedModel(network.model, network.records)
    values: Values = {INPUT: x}
    found: dict[str, NDArray[Any]] = {}
    for layer in network.model.layers:
        ours = reference.run_layer(
            model, network.weights, layer, *(values[name] for name in layer.inputs)
        )
        other = theirs.get(layer.name)
        values[layer.name] = ours
        if other is None or isinstance(layer, Dequantize):
            continue
        other = other.reshape(ours.shape)
        moved = model.type_of(f"{layer.name}{IN_INTEGERS}")
        if other.dtype == moved.dtype and moved.quantized:
            other = dequantized(other, moved)
        if other.dtype == ours.dtype:
            values[layer.name] = other
        if other.dtype == ours.dtype and model.type_of(layer.name).quantized:
            found[layer.name] = np.abs(ours.astype(int) - other.astype(int)).reshape(-1)
    return found


def outputs(network: Network, x: NDArray[Any]) -> list[NDArray[Any]]:
    """Return what the integer reference makes of an image."""
    model = QuantizedModel(network.model, network.records)
    values = reference.run(model, network.weights, x)
    return [values[name] for name in network.model.outputs]
