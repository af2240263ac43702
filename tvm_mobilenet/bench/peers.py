"""The runtimes a user would pick instead, each set up as its makers advise.

Float32 throughout (no bfloat16, no half precision) but for what a file has in
integers and for peers whose name says otherwise; the given number of threads,
one stream, graph optimizations on. Nothing is imported before a worker process
opens its runtime.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.bench.comparison import OURS
from tvm_mobilenet.errors import PeerError

Call = Callable[[], NDArray[Any]]

ONNX_FILE, NCNN_PARAM, NCNN_BIN = "model.onnx", "model.param", "model.bin"
TFLITE_FILE = "model.tflite"

OPENVINO_BF16 = "openvino-bf16"
"""The peer that computes in bfloat16 what is float32 in its file."""


def open_onnxruntime(folder: Path, threads: int, x: NDArray[Any]) -> Call:
    """Open ``model.onnx`` in ONNX Runtime's CPU provider."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(folder / ONNX_FILE), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name

    def call() -> NDArray[Any]:
        output: NDArray[Any] = session.run(None, {name: x})[0]
        return output

    return call


def open_openvino(
    folder: Path, threads: int, x: NDArray[Any], precision: str | None = "f32"
) -> Call:
    """Open ``model.onnx`` in OpenVINO's CPU plugin; zero copy in and out.

    What computes in floating-point has the `precision`, or as installed: bf16 where there is it.
    """
    import openvino

    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    if precision is not None:
        options["INFERENCE_PRECISION_HINT"] = precision
    compiled = openvino.Core().compile_model(str(folder / ONNX_FILE), "CPU", options)
    request = compiled.create_infer_request()

    def call() -> NDArray[Any]:
        results = request.infer({0: x}, share_inputs=True, share_outputs=True)
        output: NDArray[Any] = results[0]
        return output

    return call


def open_openvino_bf16(folder: Path, threads: int, x: NDArray[Any]) -> Call:
    """Open ``model.onnx`` in OpenVINO as it is installed, which on this processor is bfloat16."""
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise PeerError("openvino computes in float32 here: this processor has no bfloat16")
    return open_openvino(folder, threads, x, precision=None)


def open_ncnn(folder: Path, threads: int, x: NDArray[Any]) -> Call:
    """Open ``model.param`` and ``model.bin`` in ncnn, every half precision off."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    for precision in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{precision}", False)
    if net.load_param(str(folder / NCNN_PARAM)) or net.load_model(str(folder / NCNN_BIN)):
        raise PeerError("ncnn refused the files written for it")
    output_name = net.output_names()[0]
    # A Mat over a NumPy array does not keep the array alive.
    image = ncnn.Mat(x[0]).clone()

    def call() -> NDArray[Any]:
        extractor = net.create_extractor()
        extractor.input("input", image)
        status, blob = extractor.extract(output_name)
        if status:
            raise PeerError(f"ncnn failed with status {status}")
        return np.array(blob)[np.newaxis]

    return call


def open_litert(folder: Path, threads: int, x: NDArray[Any]) -> Call:
    """Open ``model.tflite`` in LiteRT's interpreter, which hands it to XNNPACK."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(folder / TFLITE_FILE), num_threads=threads)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    image = np.ascontiguousarray(np.moveaxis(x, 1, -1))  # as its users hold it

    def call() -> NDArray[Any]:
        interpreter.set_tensor(source["index"], image)
        interpreter.invoke()
        return np.moveaxis(interpreter.get_tensor(target["index"]), -1, 1)

    return call


PEERS: dict[str, Callable[[Path, int, NDArray[Any]], Call]] = {
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
    OPENVINO_BF16: open_openvino_bf16,
    "ncnn": open_ncnn,
    "litert": open_litert,
}
"""Name after ``--against`` → how a worker opens it."""

FLOAT32 = tuple(name for name in PEERS if name != OPENVINO_BF16)
"""The peers that compute in float32 what is float32 in their file."""

_PACKAGES = {"litert": "ai-edge-litert", OPENVINO_BF16: "openvino", OURS: "tvm-mobilenet"}
"""Names of packages that differ from the runtime's."""


def check_peers(names: Sequence[str]) -> None:
    """Check that peers are known and installed, without importing them.

    Raises
    ------
    PeerError
        Naming the first that is not, and how to get it.
    """
    for name in names:
        if name not in PEERS:
            close = difflib.get_close_matches(name, PEERS, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise PeerError(
                f"no runtime {name!r} to compare against", f"{hint}known: {', '.join(PEERS)}"
            )
        if importlib.util.find_spec(_package(name).replace("-", "_")) is None:
            raise PeerError(
                f"{name} is not installed", "install it with `pip install 'tvm-mobilenet[bench]'`"
            )


def version_of(runtime: str) -> str:
    """Return the installed version of a runtime's package; ``""`` where it has none."""
    try:
        return metadata.version(_package(runtime))
    except metadata.PackageNotFoundError:  # a checkout on PYTHONPATH
        return ""


def _package(runtime: str) -> str:
    return _PACKAGES.get(runtime, runtime)
