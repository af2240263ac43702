"""QuantizeLinear and DequantizeLinear of integers, as ONNX defines them from opset 10 on.

onnx's evaluator has them from 19 on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Attributes = Mapping[str, Any]


def quantize(
    attrs: Attributes, opset: int, x: Array, scale: Array, zero: Array | None = None
) -> Array:
    """Return elements: rounded to nearest, ties to even, and clipped to the type of `zero`."""
    if zero is None and attrs.get("output_dtype", 0):
        raise NotImplementedError
    zero = np.zeros((), np.uint8) if zero is None else zero
    scale, zero = _along(attrs, x, scale), _along(attrs, x, zero)
    limits = np.iinfo(zero.dtype)
    elements = np.rint(x / scale) + zero
    return np.asarray(np.clip(elements, limits.min, limits.max).astype(zero.dtype))


def dequantize(
    attrs: Attributes, opset: int, x: Array, scale: Array, zero: Array | None = None
) -> Array:
    """Return the numbers that elements stand for, of the type of `scale`."""
    centered = x.astype(np.int64)
    if zero is not None:
        centered = centered - _along(attrs, x, zero)
    return np.asarray(centered * _along(attrs, x, scale), scale.dtype)


def _along(attrs: Attributes, x: Array, parameter: Array) -> Array:
    """Return scales or zero points in a shape that broadcasts with `x`."""
    kind = parameter.dtype.kind
    if attrs.get("block_size", 0) or kind not in "iuf" or x.dtype.kind not in "iuf":
        raise NotImplementedError
    if parameter.size == 1:
        return parameter.reshape(())
    shape = [1] * x.ndim
    shape[attrs.get("axis", 1)] = -1
    return parameter.reshape(shape)
