"""Convolutions, products, pools and resizing in ONNX's operators, whatever their layouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tvm_mobilenet.frontends.elementwise import Rule
from tvm_mobilenet.frontends.program import Call, Tensor
from tvm_mobilenet.frontends.writer import Writer

NCHW = "NCHW"


def _pair(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [int(v) for v in (values * 2 if len(values) == 1 else values)]


def _pads(call: Call) -> list[int]:
    """Return top, left, bottom, right, of which TVM may state one, or two."""
    pads = call.attrs["padding"]
    pads = pads if isinstance(pads, list) else [pads]
    return [int(pad) for pad in pads * (4 // len(pads))]


def _in_floats(call: Call) -> None:
    dtypes = {arg.dtype for arg in call.args if isinstance(arg, Tensor)}
    if not dtypes <= {"float16", "float32"}:
        raise call.refused(f"it computes in {', '.join(sorted(dtypes))}, where only floats can be")


def _by_layout(build: Callable[[Writer, Call, str], str], name: str = "layout") -> Rule:
    """Return a rule that computes in NCHW, between transpositions if the call has it otherwise."""

    def rule(w: Writer, call: Call) -> str:
        _in_floats(call)
        layout = call.attrs[name] or NCHW
        source = w.permuted(w.read(call.args[0]), layout, NCHW, call)
        made = w.cast(build(w, call, source), call.args[0].dtype, call.out.dtype)
        return w.permuted(made, NCHW, call.attrs.get("out_layout") or layout, call)

    return rule


def _sizes(call: Call, tensor: Tensor, layout: str = "layout") -> list[int]:
    """Return height and width of a tensor in the layout of the call."""
    order = call.attrs[layout] or NCHW
    return [tensor.shape[order.index(axis)] for axis in "HW"]


def _channels(call: Call, tensor: Tensor, layout: str) -> int:
    return tensor.shape[layout.index("C")]


def _steps(call: Call) -> dict[str, Any]:
    return {"strides": _pair(call.attrs["strides"]), "dilations": _pair(call.attrs["dilation"])}


def _conv(w: Writer, call: Call, source: str) -> str:
    data, weight = call.args
    kernel, groups = call.attrs["kernel_layout"], int(call.attrs["groups"])
    layout = call.attrs["data_layout"]
    filters = w.permuted(w.read(weight), kernel, "OIHW", call)
    size = [weight.shape[kernel.index(axis)] for axis in "HW"]
    inputs = _channels(call, data, layout)
    outputs = _channels(call, call.out, call.attrs["out_layout"] or layout)
    # A depthwise convolution may state channels and multiplier for outputs and inputs.
    if groups > 1 and weight.shape[kernel.index("I")] != inputs // groups:
        filters = w.reshaped(filters, (outputs, inputs // groups, *size))
    attrs = _steps(call)
    attrs |= {"pads": _pads(call), "kernel_shape": size}
    return str(w.emit("Conv", source, filters, group=groups, **attrs))


def _conv_transpose(w: Writer, call: Call, source: str) -> str:
    weight, kernel = call.args[1], call.attrs["kernel_layout"]
    # Relay calls the layout OIHW where the inputs come first, as they do in IOHW.
    wanted = "IOHW" if sorted(kernel) == sorted("IOHW") and kernel != "OIHW" else "OIHW"
    filters = w.permuted(w.read(weight), kernel, wanted, call)
    size = [weight.shape[kernel.index(axis)] for axis in "HW"]
    attrs = _steps(call)
    attrs |= {"pads": _pads(call), "kernel_shape": size, "group": int(call.attrs["groups"])}
    attrs["output_padding"] = _pair(call.attrs["output_padding"])
    return str(w.emit("ConvTranspose", source, filters, **attrs))


def _pool(operator: str) -> Callable[[Writer, Call, str], str]:
    def build(w: Writer, call: Call, source: str) -> str:
        dilations, pads = _pair(call.attrs["dilation"]), _pads(call)
        attrs: dict[str, Any] = {}
        if operator == "MaxPool":
            attrs["dilations"] = dilations
        elif dilations != [1, 1]:
            raise call.refused("ONNX has no dilated mean before opset 19")
        else:
            attrs["count_include_pad"] = int(call.attrs["count_include_pad"])
        if call.attrs["ceil_mode"]:
            reached = _reached(call)
            beyond = any(r > p for r, p in zip(reached, pads[2:], strict=True))
            if beyond and attrs.get("count_include_pad"):
                raise call.refused("it counts what is beyond its padding, or does not")
            pads = [*pads[:2], *reached]
        attrs |= {"kernel_shape": _pair(call.attrs["pool_size"]), "pads": pads}
        return str(w.emit(operator, source, strides=_pair(call.attrs["strides"]), **attrs))

    return build


def _reached(call: Call) -> list[int]:
    """Return what has to be padded at the end for all windows of the output.

    ONNX's versions and TVM differ in which windows there are when sizes are rounded up.
    """
    before, after = _sizes(call, call.args[0]), _sizes(call, call.out)
    names = ("pool_size", "dilation", "strides")
    size, dilation, strides = (_pair(call.attrs[name]) for name in names)
    last = [(after[i] - 1) * strides[i] - pad for i, pad in enumerate(_pads(call)[:2])]
    if any(first >= end for first, end in zip(last, before, strict=True)):
        raise call.refused("its last windows hold nothing but padding")
    return [max(last[i] + (size[i] - 1) * dilation[i] + 1 - before[i], 0) for i in range(2)]


def _global_pool(operator: str) -> Callable[[Writer, Call, str], str]:
    return lambda w, call, source: str(w.emit(operator, source))


def _adaptive_pool(kind: str) -> Callable[[Writer, Call, str], str]:
    """Return windows of equal size where they are; means of others as products."""

    def build(w: Writer, call: Call, source: str) -> str:
        before = _sizes(call, call.args[0])
        after = _sizes(call, call.out)
        if after == [1, 1]:
            return str(w.emit(f"Global{kind}Pool", source))
        if all(big % small == 0 for big, small in zip(before, after, strict=True)):
            size = [big // small for big, small in zip(before, after, strict=True)]
            return str(w.emit(f"{kind}Pool", source, kernel_shape=size, strides=size))
        if kind == "Max":
            raise call.refused(f"its windows of {before} for {after} are of several sizes")
        rows, columns = (_means(*sizes) for sizes in zip(before, after, strict=True))
        dtype = call.args[0].dtype
        narrow = w.emit("MatMul", source, w.constant(columns.T, dtype))
        return str(w.emit("MatMul", w.constant(rows, dtype), narrow))

    return build


def _means(before: int, after: int) -> Any:
    """Return the matrix that takes the mean of each window."""
    found = np.zeros((after, before))
    for at in range(after):
        first, end = at * before // after, -(-(at + 1) * before // after)
        found[at, first:end] = 1 / (end - first)
    return found


def _resize(w: Writer, call: Call, source: str) -> str:
    """Resize to the size that the output has."""
    attrs: dict[str, Any] = {
        "coordinate_transformation_mode": call.attrs["coordinate_transformation_mode"]
    }
    method = call.attrs["method"]
    if attrs["coordinate_transformation_mode"] == "tf_crop_and_resize":
        raise call.refused("it crops")
    if method == "nearest_neighbor":
        aligned = attrs["coordinate_transformation_mode"] == "align_corners"
        rounding = call.attrs["rounding_method"] or ("round" if aligned else "floor")
        if rounding == HALF_TO_EVEN:
            return _nearest(w, call, source, attrs["coordinate_transformation_mode"])
        attrs |= {"mode": "nearest", "nearest_mode": _NEAREST.get(rounding, rounding)}
    elif method == "cubic":
        attrs |= {"mode": "cubic", "cubic_coeff_a": call.attrs["cubic_alpha"]}
        attrs["exclude_outside"] = int(call.attrs["cubic_exclude"])
    else:
        attrs["mode"] = method
    return _resized(w, call, source, attrs)


_NEAREST = {"round": "round_prefer_ceil"}
HALF_TO_EVEN = "round_half_to_even"
"""What ``round`` means to Relax, and ONNX does not know; to Relay halves go up."""


def _nearest(w: Writer, call: Call, source: str, mode: str) -> str:
    """Take the pixels that are nearest, halves to even."""
    places = zip((2, 3), _sizes(call, call.args[0]), _sizes(call, call.out), strict=True)
    for axis, before, after in places:
        scale, at = np.float32(before / after), np.arange(after, dtype=np.float32)
        if mode == "align_corners":
            at *= np.float32((before - 1) / max(after - 1, 1))
        elif mode == "asymmetric":
            at *= scale
        else:
            at = (at + np.float32(0.5)) * scale - np.float32(0.5 * (mode != "tf_half_pixel_for_nn"))
        found = np.rint(at).clip(0, before - 1).astype(np.int64)
        source = w.emit("Gather", source, w.constant(found), axis=axis)
    return source


def _upsample(w: Writer, call: Call, source: str) -> str:
    method = call.attrs["method"].removeprefix("bi")
    mode = {"nearest_neighbor": "nearest", "linear": "linear", "cubic": "cubic"}[method]
    aligned = call.attrs["align_corners"]
    attrs = {
        "mode": mode,
        "coordinate_transformation_mode": "align_corners" if aligned else "asymmetric",
        "nearest_mode": "round_prefer_ceil" if aligned else "floor",
        "cubic_coeff_a": -0.5,
    }
    return _resized(w, call, source, attrs)


def _resized(w: Writer, call: Call, source: str, attrs: dict[str, Any]) -> str:
    layout = call.attrs["layout"]
    sizes = [call.out.shape[layout.index(axis)] for axis in NCHW if axis in layout]
    return str(w.emit("Resize", source, "", "", w.constant(sizes), **attrs))


def _dense(w: Writer, call: Call) -> str:
    _in_floats(call)
    data, weight = call.args
    if len(data.shape) == 2:
        made = w.emit("Gemm", w.read(data), w.read(weight), transB=1)
    else:
        made = w.emit("MatMul", w.read(data), w.emit("Transpose", w.read(weight), perm=[1, 0]))
    return w.cast(made, data.dtype, call.out.dtype)


def _matmul(w: Writer, call: Call) -> str:
    _in_floats(call)
    operands = []
    for tensor, name in zip(call.args, ("transpose_a", "transpose_b"), strict=True):
        operand, rank = w.read(tensor), len(tensor.shape)
        if call.attrs.get(name, False):
            perm = [*range(rank - 2), rank - 1, rank - 2]
            operand = w.emit("Transpose", operand, perm=perm)
        operands.append(operand)
    return w.cast(w.emit("MatMul", *operands), call.args[0].dtype, call.out.dtype)


def _pad(w: Writer, call: Call) -> str:
    source = call.args[0]
    widths = np.reshape(call.attrs["pad_width"], (-1, 2))
    mode = {"replicate": "edge"}.get(call.attrs["pad_mode"], call.attrs["pad_mode"])
    if mode not in ("constant", "edge", "reflect"):
        raise call.refused(f"ONNX pads by no mode {mode!r} before opset 19")
    value = call.args[1] if len(call.args) > 1 else None
    if value is not None:  # Relay's, a tensor
        filling = w.reshaped(w.cast(w.read(value), value.dtype, source.dtype), ())
    else:
        filling = w.scalar(call.attrs["pad_value"], source.dtype)
    pads = w.constant(widths.T.ravel())
    return str(w.emit("Pad", w.read(source), pads, filling, mode=mode))


def _mirror_pad(w: Writer, call: Call) -> str:
    if call.attrs["mode"] != "REFLECT":
        raise call.refused(f"ONNX has no mode {call.attrs['mode']!r}")
    pads = w.constant(np.reshape(call.attrs["pad_width"], (-1, 2)).T.ravel())
    return str(w.emit("Pad", w.read(call.args[0]), pads, mode="reflect"))


RULES: dict[str, Rule] = {
    "image.resize2d": _by_layout(_resize),
    "nn.adaptive_avg_pool2d": _by_layout(_adaptive_pool("Average")),
    "nn.adaptive_max_pool2d": _by_layout(_adaptive_pool("Max")),
    "nn.avg_pool2d": _by_layout(_pool("AveragePool")),
    "nn.batch_matmul": _matmul,
    "nn.conv2d": _by_layout(_conv, "data_layout"),
    "nn.conv2d_transpose": _by_layout(_conv_transpose, "data_layout"),
    "nn.dense": _dense,
    "nn.global_avg_pool2d": _by_layout(_global_pool("GlobalAveragePool")),
    "nn.global_max_pool2d": _by_layout(_global_pool("GlobalMaxPool")),
    "nn.matmul": _matmul,
    "nn.max_pool2d": _by_layout(_pool("MaxPool")),
    "nn.mirror_pad": _mirror_pad,
    "nn.pad": _pad,
    "nn.upsampling": _by_layout(_upsample),
}
