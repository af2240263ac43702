"""Operators as files of every opset have them, and who says what they should give."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx_nets import Net

import tvm_mobilenet as tm

Array = NDArray[Any]


def saved(net: Net, path: Path, *outputs: str) -> Path:
    """Write a network; what onnx infers no type of is float32."""
    model = net.model(*outputs)
    for value in model.graph.output:
        if not value.type.tensor_type.elem_type:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(model, str(path))
    return path


def onnxruntime_says(path: Path, x: Array) -> list[Array]:
    """What onnxruntime computes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found: list[Array] = session.run(None, {session.get_inputs()[0].name: x})
    return found


def compiled_says(path: Path, x: Array) -> list[Array]:
    """What our artifact computes; nothing is compared on the way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = tm.compile(tm.import_onnx(path), verify=False).module(x)
    return [np.array(y) for y in (found if isinstance(found, tuple) else (found,))]


def same(ours: list[Array], theirs: list[Array], tolerance: float = 1e-5) -> None:
    """Assert that types, shapes and numbers are those wanted."""
    assert len(ours) == len(theirs)
    for got, want in zip(ours, theirs, strict=True):
        assert (got.dtype, got.shape) == (np.asarray(want).dtype, np.shape(want))
        scale = float(np.abs(np.asarray(want, np.float64)).max(initial=0)) or 1.0
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale)
