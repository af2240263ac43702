"""Operators that onnx's evaluator gets wrong, cannot compute or is slow at, as ONNX defines them.

Each takes the node's attributes, the opset and the inputs (None for one that is left out), and
computes in the type of its inputs. docs/adr/0020 says what was wrong with each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.models.onnx_quantization import dequantize, quantize
from tvm_mobilenet.models.onnx_resize import resize, upsample
from tvm_mobilenet.models.onnx_windows import average_pool, conv, conv_transpose, max_pool, text

Array = NDArray[Any]
Attributes = Mapping[str, Any]

_COERCED = 13
"""Opset before which softmax and its like flatten their input to two dimensions."""


def _in_rows(attrs: Attributes, opset: int, x: Array, rule: Callable[[Array], Array]) -> Array:
    """Apply a rule along the last axis of what softmax and its like take for a row."""
    if opset < _COERCED:
        axis = attrs.get("axis", 1) % x.ndim
        rows = x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
        return rule(rows).reshape(x.shape)
    axis = attrs.get("axis", -1)
    return np.moveaxis(rule(np.moveaxis(x, axis, -1)), -1, axis)


def _softmax(attrs: Attributes, opset: int, x: Array) -> Array:
    def rule(rows: Array) -> Array:
        exponentials = np.exp(rows - rows.max(axis=-1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))

    return _in_rows(attrs, opset, x, rule)


def _log_softmax(attrs: Attributes, opset: int, x: Array) -> Array:
    def rule(rows: Array) -> Array:
        shifted = rows - rows.max(axis=-1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))

    return _in_rows(attrs, opset, x, rule)


def _hardmax(attrs: Attributes, opset: int, x: Array) -> Array:
    def rule(rows: Array) -> Array:
        found = np.zeros_like(rows)
        np.put_along_axis(found, rows.argmax(axis=-1)[..., None], 1, axis=-1)
        return found

    return _in_rows(attrs, opset, x, rule)


def _batch_norm(attrs: Attributes, opset: int, x: Array, *parts: Array) -> Array:
    """Normalise with the statistics given: onnx's own takes the image's before opset 14.

    There the outputs of training ask for those, which the caller says as ``training_mode``.
    """
    gamma, beta, mean, variance = parts
    if attrs.get("training_mode", 0):
        axes = tuple(axis for axis in range(x.ndim) if axis != 1)
        mean, variance = x.mean(axis=axes), x.var(axis=axes)
    shape = (-1,) + (1,) * (x.ndim - 2)
    scale = gamma / np.sqrt(variance + attrs.get("epsilon", 1e-5))
    y = np.asarray(x * scale.reshape(shape), x.dtype)
    y += (beta - mean * scale).reshape(shape)
    return y


def _lrn(attrs: Attributes, opset: int, x: Array) -> Array:
    size = attrs["size"]
    before, after = (size - 1) // 2, size // 2
    padded = np.pad(x * x, [(0, 0), (before, after)] + [(0, 0)] * (x.ndim - 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)
    factor = attrs.get("alpha", 1e-4) / size
    base = attrs.get("bias", 1.0) + factor * windows.sum(axis=-1)
    return np.asarray(x / base ** attrs.get("beta", 0.75), x.dtype)


def _pad(  # noqa: PLR0917  as the node has them
    attrs: Attributes,
    opset: int,
    x: Array,
    pads: Array | None = None,
    value: Array | None = None,
    axes: Array | None = None,
) -> Array:
    """Pad, and cut off what is padded below zero."""
    mode = text(attrs.get("mode", "constant"))
    widths = np.asarray(attrs["pads"] if pads is None else pads).reshape(2, -1)
    around = np.zeros((x.ndim, 2), np.int64)
    around[[*range(x.ndim)] if axes is None else np.asarray(axes)] = widths.T
    fill = attrs.get("value", 0.0) if value is None or not np.size(value) else np.ravel(value)[0]
    options = {"constant_values": fill} if mode == "constant" else {}
    kept = tuple(
        slice(max(0, -before), size - max(0, -after))
        for size, (before, after) in zip(x.shape, around.tolist(), strict=True)
    )
    return np.pad(x[kept], around.clip(0), mode, **options)  # type: ignore[call-overload,no-any-return]


def corrected(operator: str, opset: int) -> Callable[..., Array] | None:
    """Return how an operator is computed here; None where onnx's evaluator does.

    Parameters
    ----------
    operator : str
        ONNX's name.
    opset : int
        Opset of the model.

    Returns
    -------
    callable or None
        From attributes, opset and inputs to the first output. It raises
        NotImplementedError for forms that it leaves to onnx's evaluator.
    """
    if operator == "BatchNormalization" and opset >= 14:
        return None
    return _CORRECTED.get(operator)


_CORRECTED: dict[str, Callable[..., Array]] = {
    "BatchNormalization": _batch_norm,
    "AveragePool": average_pool,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DequantizeLinear": dequantize,
    "Hardmax": _hardmax,
    "LRN": _lrn,
    "LogSoftmax": _log_softmax,
    "MaxPool": max_pool,
    "Pad": _pad,
    "QuantizeLinear": quantize,
    "Resize": resize,
    "Softmax": _softmax,
    "Upsample": upsample,
}
