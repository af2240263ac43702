"""TensorFlow Lite files for tests: of our own writer, edited; and what LiteRT computes of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from quantized_files import Values, image, small

from tvm_mobilenet.bench.int8_types import types_of_sums
from tvm_mobilenet.bench.litert_files import write_tflite
from tvm_mobilenet.bench.litert_int8 import write_int8_tflite
from tvm_mobilenet.models.network import Network
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.quantization.calibration import quantize

INT8, UINT8 = schema.TensorType.INT8, schema.TensorType.UINT8


def in_float(name: str, path: Path) -> Path:
    model = small(name)
    write_tflite(model, initialize(model), path)
    return path


def in_integers(name: str, path: Path) -> Path:
    """Write a network whose input and logits are float32 and all between int8."""
    model, x = small(name), image(name)
    made = quantize(model, initialize(model), [x])
    network = Network(made.model.model, made.weights, "arrays", records=made.model.records)
    write_int8_tflite(network, types_of_sums(network, x), path)
    return path


def edited(path: Path, *changes: Callable[[Any], None]) -> Path:
    """Change a file, unpacked, in place."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    for change in changes:
        change(model)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def kind_of(model: Any, op: Any) -> int:
    code = model.operatorCodes[op.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def of(model: Any, kind: str) -> list[Any]:
    """Return the operators of a kind."""
    number = getattr(schema.BuiltinOperator, kind)
    return [op for op in model.subgraphs[0].operators if kind_of(model, op) == number]


def leave_elements(model: Any) -> None:
    """Let the network take and give elements: no QUANTIZE, no DEQUANTIZE and no softmax."""
    graph = model.subgraphs[0]
    (first,), (last,) = of(model, "QUANTIZE"), of(model, "DEQUANTIZE")
    graph.inputs, graph.outputs = list(first.outputs), list(last.inputs)
    gone = {id(op) for op in (first, last, *of(model, "SOFTMAX"))}
    graph.operators = [op for op in graph.operators if id(op) not in gone]


def by_tensor(model: Any) -> None:
    """Give every weight one scale."""
    graph = model.subgraphs[0]
    for kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        for op in of(model, kind):
            weight, bias = (graph.tensors[at] for at in op.inputs[1:3])
            scales = np.asarray(weight.quantization.scale, np.float32)
            along = [1] * len(weight.shape)
            along[weight.quantization.quantizedDimension] = -1
            one = scales.max()
            for tensor, dtype, shape in ((weight, np.int8, along), (bias, np.int32, [-1])):
                data = np.frombuffer(bytes(model.buffers[tensor.buffer].data), dtype)
                values = data.reshape(tensor.shape) * (scales / one).reshape(shape)
                stored = np.rint(values).astype(dtype)
                model.buffers[tensor.buffer].data = stored.reshape(-1).view(np.uint8)
                tensor.quantization.scale = [float(tensor.quantization.scale[scales.argmax()])]
                tensor.quantization.zeroPoint = [0]


def to_bytes(model: Any) -> None:
    """Store all elements 128 higher, as files did before there was int8."""
    for tensor in model.subgraphs[0].tensors:
        if tensor.type != INT8:
            continue
        tensor.type = UINT8
        tensor.quantization.zeroPoint = [int(z) + 128 for z in tensor.quantization.zeroPoint]
        stored = model.buffers[tensor.buffer]
        if tensor.buffer and stored.data is not None:
            stored.data = np.asarray(stored.data, np.uint8) ^ 128


def in_nine_bits(model: Any) -> None:
    """Let elements of weights mean other numbers, which int8 does not hold."""
    graph = model.subgraphs[0]
    for kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        for op in of(model, kind):
            graph.tensors[op.inputs[1]].quantization.zeroPoint = [124]


def in_halves(model: Any) -> None:
    """Store weights in float16, each behind a DEQUANTIZE."""
    graph = model.subgraphs[0]
    model.operatorCodes.append(
        schema.OperatorCodeT(
            deprecatedBuiltinCode=schema.BuiltinOperator.DEQUANTIZE,
            builtinCode=schema.BuiltinOperator.DEQUANTIZE,
        )
    )
    before = []
    for op in (
        *of(model, "CONV_2D"),
        *of(model, "DEPTHWISE_CONV_2D"),
        *of(model, "FULLY_CONNECTED"),
    ):
        tensor = graph.tensors[op.inputs[1]]
        data = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32)
        model.buffers[tensor.buffer].data = data.astype(np.float16).view(np.uint8)
        wide = schema.TensorT(
            shape=tensor.shape, type=tensor.type, buffer=0, name=tensor.name + b".wide"
        )
        tensor.type = schema.TensorType.FLOAT16
        graph.tensors.append(wide)
        made = schema.OperatorT(
            opcodeIndex=len(model.operatorCodes) - 1,
            inputs=[int(op.inputs[1])],
            outputs=[len(graph.tensors) - 1],
        )
        before.append(made)
        op.inputs = [op.inputs[0], len(graph.tensors) - 1, *op.inputs[2:]]
    graph.operators = [*before, *graph.operators]


def by_litert(path: Path, x: NDArray[Any]) -> tuple[NDArray[Any], Values]:
    """Return LiteRT's answer, as it is, and every tensor by its name, maps NCHW."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = Interpreter(model_path=str(path), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    answer = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    found: Values = {}
    for detail in interpreter.get_tensor_details():
        try:
            value = interpreter.get_tensor(detail["index"])
        except ValueError:  # what it did not need
            continue
        found[detail["name"]] = value.transpose(0, 3, 1, 2) if value.ndim == 4 else value
    return answer, found


def channels_last(x: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))
