"""From a file to an ONNX model that is whole, known and of fixed shape."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tvm_mobilenet.errors import InvalidModelError, OnnxFileError, OpsetError
from tvm_mobilenet.errors import UnsupportedOperatorError as Unsupported

if TYPE_CHECKING:
    import onnx

OLDEST_OPSET = 7
"""Broadcasting is what it is today since then."""

_QUANTIZED = {
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv",
    "QLinearMatMul", "ConvInteger", "MatMulInteger",
}  # fmt: skip
_BRANCHING = {"If", "Loop", "Scan"}
_RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli"}


def read(
    path: str | os.PathLike[str], batch: int | None = None, resolution: int | None = None
) -> onnx.ModelProto:
    """Read a model and give its input a fixed shape.

    Parameters
    ----------
    path : path-like
    batch : int, optional
        Images per run where the file leaves it open; 1 by default.
    resolution : int, optional
        Height and width, where the file leaves those open.

    Returns
    -------
    onnx.ModelProto
        Its functions inlined, its weights in it.

    Raises
    ------
    OnnxFileError
        The file is not there, no ONNX model, damaged, or lacks its weights.
    OpsetError
        It is newer than the onnx package, or older than opset 7.
    UnsupportedOperatorError
        An operator that nobody here knows, integer arithmetic, or control flow.
    InvalidModelError
        Its input is not one float32 image or batch of them.
    """
    import onnx
    from onnx import inliner

    where = os.fspath(path)
    model = _load(where)
    _check_versions(model, where)
    if len(model.functions):
        model = inliner.inline_local_functions(model)
    _check_operators(model, where)
    for value in model.graph.output:
        value.type.tensor_type.shape.SetInParent()  # the checker insists; it is inferred anyway
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise OnnxFileError(
            f"{where!r} breaks ONNX's rules: {' '.join(lines)[:400]}", "export it again"
        ) from None
    _fix_input(model, where, batch, resolution)
    return model


def _load(where: str) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(where, load_external_data=False)
    except OSError as error:
        raise OnnxFileError(
            f"cannot read {where!r}: {error.strerror or error}", "give the path of an .onnx file"
        ) from None
    except DecodeError:
        raise OnnxFileError(
            f"{where!r} is damaged, or no ONNX model", "copy or export it again"
        ) from None
    if not model.graph.node:
        raise OnnxFileError(f"{where!r} holds no network", "copy or export it again")
    folder = os.path.dirname(os.path.abspath(where))
    try:
        onnx.load_external_data_for_model(model, folder)
    # onnx raises one or the other, by version; a file cut short shows as a ValueError.
    except (OSError, onnx.checker.ValidationError, ValueError) as error:
        raise OnnxFileError(
            f"{where!r} keeps weights in another file, which cannot be read: {error}",
            "put that file beside it, under the name it had when it was exported",
        ) from None
    return model


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
        op, at = node.op_type, f"the node {node.name or node.output[0]!r} of {where!r}"
        if node.domain not in ("", "ai.onnx"):
            raise Unsupported(
                f"{at} is an operator that is not ONNX's own: {node.domain}.{op}",
                "export without that extension",
            )
        if op in _QUANTIZED:
            raise Unsupported(
                f"{at} computes in integers: {op}", "give the model before quantization, in float32"
            )
        if op in _BRANCHING or op in _RANDOM:
            what = "chooses while it runs" if op in _BRANCHING else "draws random numbers"
            raise Unsupported(f"{at} {what}: {op}", "simplify the model for fixed shapes first")
        if not onnx.defs.has(op):
            raise Unsupported(f"{at} is no operator of ONNX: {op}", "export the model again")


def _fix_input(
    model: onnx.ModelProto, where: str, batch: int | None, resolution: int | None
) -> None:
    """Fix the shape of the one input; forget every shape that was derived from it."""
    from onnx import TensorProto

    known = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in known]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise InvalidModelError(
            f"{where!r} has {len(inputs)} inputs ({names}); it should have one, an image",
            "export the model with everything else as constants",
        )
    kind = inputs[0].type.tensor_type
    if kind.elem_type != TensorProto.FLOAT:
        dtype = TensorProto.DataType.Name(kind.elem_type)
        raise InvalidModelError(
            f"the input {inputs[0].name!r} of {where!r} is {dtype}, not FLOAT",
            "export the model in float32",
        )
    dims = kind.shape.dim
    if len(dims) != 4:
        raise InvalidModelError(
            f"the input {inputs[0].name!r} of {where!r} has {len(dims)} dimensions, not 4",
            "export a model of images: NCHW or NHWC",
        )
    sizes = [dim.dim_value if dim.dim_value > 0 else None for dim in dims]
    if sizes[0] is not None and batch not in (None, sizes[0]):
        raise InvalidModelError(
            f"{where!r} is for {sizes[0]} images a run, not {batch}",
            "export it with a dynamic batch dimension",
        )
    sizes[0] = sizes[0] or batch or 1
    for at in (2, 3) if sizes[3] is None or sizes[1] is not None else (1, 2):
        if sizes[at] is not None and resolution not in (None, sizes[at]):
            raise InvalidModelError(
                f"{where!r} is for images of {sizes[at]} pixels, not {resolution}",
                "export it for that resolution, or leave the option out",
            )
        sizes[at] = sizes[at] or resolution
    if None in sizes:
        told = "x".join(str(dim.dim_value or dim.dim_param or "?") for dim in dims)
        raise InvalidModelError(
            f"the input {inputs[0].name!r} of {where!r} has no fixed size: {told}",
            "fix height and width with --resolution, or export them fixed",
        )
    for dim, size in zip(dims, sizes, strict=True):
        dim.dim_value = size
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
