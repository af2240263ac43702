"""Reads an ONNX file: weights loaded, functions inlined, operators checked, input shape fixed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tvm_mobilenet.errors import OnnxFileError, OpsetError
from tvm_mobilenet.errors import UnsupportedOperatorError as Unsupported
from tvm_mobilenet.models.importer.functions import inlined
from tvm_mobilenet.models.importer.qoperators import without_qoperators
from tvm_mobilenet.models.importer.sizes import Sizes, fix_input
from tvm_mobilenet.models.importer.tensors import load_tensors, regular_file
from tvm_mobilenet.models.tflite.operators import to_onnx

if TYPE_CHECKING:
    import onnx

OLDEST_OPSET = 7
"""Broadcasting is what it is today since then."""

_DYNAMIC = {"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}
_BRANCHING = {"If", "Loop", "Scan"}
_RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli"}


def read(path: str | os.PathLike[str], asked: Sizes) -> onnx.ModelProto:
    """Read a model and give its input a fixed shape.

    Parameters
    ----------
    asked : Sizes
        Sizes that the file leaves open.

    Returns
    -------
    onnx.ModelProto
        The model with its weights, without functions.

    Raises
    ------
    OnnxFileError
        The file is missing, damaged or no ONNX model, or its weights are missing.
    OpsetError
        The file is newer than the onnx package, or older than opset 7.
    UnsupportedOperatorError
        The model has an unknown operator, integer arithmetic, or control flow.
    InvalidModelError
        The input is not one image or a batch of them, in float32, float16 or uint8.
    """
    where = os.fspath(path)
    return checked(_load(where), where, asked)


def checked(model: onnx.ModelProto, where: str, asked: Sizes) -> onnx.ModelProto:
    """Check what was read, as :func:`read` does; `where` is what messages call it."""
    import onnx

    _check_versions(model, where)
    model = without_qoperators(inlined(model, where), where)
    _check_operators(model, where)
    for value in model.graph.output:
        value.type.tensor_type.shape.SetInParent()  # the checker insists; it is inferred anyway
    try:
        onnx.checker.check_model(model)
    # A ValueError of text that is not UTF-8, and of more than protobuf's 2 GB.
    except (onnx.checker.ValidationError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise OnnxFileError(
            f"{where!r} breaks ONNX's rules: {' '.join(lines)[:400]}", "export it again"
        ) from None
    fix_input(model, where, asked)
    return model


def _load(where: str) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        regular_file(where)
        if is_tflite(where):
            return to_onnx(Path(where).read_bytes(), where)
        model = onnx.load(where, load_external_data=False)
    except (OSError, ValueError) as error:  # a ValueError of what is no path at all
        raise OnnxFileError(
            f"cannot read {where!r}: {getattr(error, 'strerror', None) or error}",
            "give the path of an .onnx or .tflite file",
        ) from None
    except DecodeError:
        raise OnnxFileError(
            f"{where!r} is damaged, or no ONNX model", "copy or export it again"
        ) from None
    if not model.graph.node or not model.graph.output:
        raise OnnxFileError(f"{where!r} holds no network", "copy or export it again")
    _check_text(model, where)
    load_tensors(model, where)
    return model


def is_tflite(path: object) -> bool:
    """Whether a path is that of a TensorFlow Lite file, by its ending."""
    return str(path).lower().endswith(".tflite")


def _check_text(model: onnx.ModelProto, where: str) -> None:
    """Refuse names that are no text, which protobuf passes on and nobody can read."""
    graph = model.graph
    try:
        for node in (*graph.node, *(node for f in model.functions for node in f.node)):
            names = (node.op_type, node.domain, node.name, *node.input, *node.output)
            for name in (*names, *(attribute.name for attribute in node.attribute)):
                name.encode()
        for value in (*graph.input, *graph.output, *graph.initializer):
            value.name.encode()
    except (UnicodeError, AttributeError):  # bytes have no such method
        raise OnnxFileError(
            f"{where!r} has a name that is no UTF-8", "copy or export it again"
        ) from None


def _check_versions(model: onnx.ModelProto, where: str) -> None:
    import onnx

    newest = onnx.defs.onnx_opset_version()
    opset = opset_of(model)
    known = f"the onnx package {onnx.__version__} knows up to opset {newest}"
    if opset > newest or model.ir_version > onnx.IR_VERSION:
        raise OpsetError(
            f"{where!r} has opset {opset}, IR version {model.ir_version}; {known}",
            "upgrade onnx, or export with an older opset",
        )
    if opset < OLDEST_OPSET:
        raise OpsetError(
            f"{where!r} has opset {opset}; taken from {OLDEST_OPSET} on",
            "convert it with onnx.version_converter",
        )


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators that a model uses; 0 for none."""
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    return max(versions, default=0)


def _check_operators(model: onnx.ModelProto, where: str) -> None:
    import onnx

    for node in model.graph.node:
        op, at = node.op_type, f"the node {node.name or ' '.join(node.output)!r} of {where!r}"
        if not any(node.output):
            raise OnnxFileError(f"{at} gives nothing", "export it again")
        if node.domain not in ("", "ai.onnx"):
            raise Unsupported(
                f"{at} is an operator that is not ONNX's own: {node.domain}.{op}",
                "export without that extension",
            )
        if op in _DYNAMIC:
            raise Unsupported(
                f"{at} computes in integers whose scale depends on the image: {op}",
                "quantise the model statically, with images to calibrate by",
            )
        if op in _BRANCHING or op in _RANDOM:
            what = "chooses while it runs" if op in _BRANCHING else "draws random numbers"
            raise Unsupported(f"{at} {what}: {op}", "simplify the model for fixed shapes first")
        if not onnx.defs.has(op):
            raise Unsupported(f"{at} is no operator of ONNX: {op}", "export the model again")
