"""Convolutions and pools as ONNX defines them, of any rank, with one product or map for each tap.

Those of onnx loop over pixels or groups in Python; some are wrong, others take seconds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Attributes = Mapping[str, Any]


def text(value: str | bytes) -> str:
    """Return a text attribute as one."""
    return value.decode() if isinstance(value, bytes) else value


def _around(
    attrs: Attributes, sizes: Sequence[int], kernel: Sequence[int]
) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """Return strides, dilations, and what `pads` or `auto_pad` put around a convolution's map."""
    rank = len(kernel)
    strides = list(attrs.get("strides", [1] * rank))
    dilations = list(attrs.get("dilations", [1] * rank))
    auto = text(attrs.get("auto_pad", "NOTSET"))
    pads = attrs.get("pads", [0] * (2 * rank))
    around = [(pads[i], pads[i + rank]) for i in range(rank)]
    if auto != "NOTSET":
        around = []
        for size, taps, stride, apart in zip(sizes, kernel, strides, dilations, strict=True):
            reach = (-(-size // stride) - 1) * stride + (taps - 1) * apart + 1
            total = 0 if auto == "VALID" else max(0, reach - size)
            less, more = total // 2, total - total // 2
            around.append((less, more) if auto == "SAME_UPPER" else (more, less))
    return strides, dilations, around


def conv(attrs: Attributes, opset: int, x: Array, w: Array, b: Array | None = None) -> Array:
    """Convolve: one product for each tap of the kernel."""
    group, kernel = attrs.get("group", 1), w.shape[2:]
    strides, dilations, around = _around(attrs, x.shape[2:], kernel)
    padded = np.pad(x, [(0, 0), (0, 0), *around]) if any(map(any, around)) else x
    reaches = [(taps - 1) * apart for taps, apart in zip(kernel, dilations, strict=True)]
    out = [
        (size - reach - 1) // stride + 1
        for size, reach, stride in zip(padded.shape[2:], reaches, strides, strict=True)
    ]
    batch, outputs = x.shape[0], w.shape[0]
    depthwise = w.shape[1] == 1 and outputs == group
    y = scratch = np.empty((batch, group, outputs // group, math.prod(out)), x.dtype)
    for number, tap in enumerate(itertools.product(*map(range, kernel))):
        where = tuple(
            slice(at * apart, at * apart + (count - 1) * stride + 1, stride)
            for at, apart, count, stride in zip(tap, dilations, out, strides, strict=True)
        )
        taken = padded[(slice(None), slice(None), *where)].reshape(batch, group, -1, y.shape[-1])
        weight = _tap(w, tap).reshape(group, outputs // group, -1)
        if number == 1:
            scratch = np.empty_like(y)
        (np.multiply if depthwise else np.matmul)(weight, taken, out=scratch)
        if number:
            y += scratch
    y = y.reshape(batch, outputs, *out)
    if b is not None:
        y += b.reshape(-1, *[1] * len(out))
    return y


def _tap(w: Array, tap: tuple[int, ...]) -> Array:
    """Return the weights of one tap."""
    where: tuple[Any, ...] = (slice(None), slice(None), *tap)
    return np.asarray(w[where])


def conv_transpose(
    attrs: Attributes, opset: int, x: Array, w: Array, b: Array | None = None
) -> Array:
    """Convolve transposed: spread one product for each tap, then cut the padding off."""
    group, kernel, sizes = attrs.get("group", 1), w.shape[2:], x.shape[2:]
    rank = len(kernel)
    strides, dilations, around = _around({**attrs, "auto_pad": "NOTSET"}, sizes, kernel)
    extra = attrs.get("output_padding", [0] * rank)
    auto, shape = text(attrs.get("auto_pad", "NOTSET")), attrs.get("output_shape")
    whole = [
        stride * (size - 1) + more + (taps - 1) * apart + 1
        for stride, size, more, taps, apart in zip(
            strides, sizes, extra, kernel, dilations, strict=True
        )
    ]
    if shape is None and auto.startswith("SAME"):
        shape = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    if shape is not None:
        totals = [length - want for length, want in zip(whole, shape[-rank:], strict=True)]
        # What is odd goes to the end with SAME_UPPER, to the beginning with anything else.
        halves = [(total // 2, total - total // 2) for total in totals]
        around = halves if auto == "SAME_UPPER" else [(more, less) for less, more in halves]
    batch, outputs = x.shape[0], w.shape[1] * group
    grouped = x.reshape(batch, group, -1, math.prod(sizes))
    # Padding below zero leaves room where nothing is spread to.
    room = [max(length, length - sum(pads)) for length, pads in zip(whole, around, strict=True)]
    y = np.zeros((batch, outputs, *room), x.dtype)
    for tap in itertools.product(*map(range, kernel)):
        weight = _tap(w, tap).reshape(group, -1, w.shape[1])
        product = (weight.transpose(0, 2, 1) @ grouped).reshape(batch, outputs, *sizes)
        where = tuple(
            slice(at * apart, at * apart + (size - 1) * stride + 1, stride)
            for at, apart, size, stride in zip(tap, dilations, sizes, strides, strict=True)
        )
        y[(slice(None), slice(None), *where)] += product
    kept = tuple(
        slice(max(0, before), max(0, before) + length - before - after)
        for length, (before, after) in zip(whole, around, strict=True)
    )
    y = y[(slice(None), slice(None), *kept)]
    return y if b is None else y + b.reshape(-1, *[1] * rank)


def max_pool(attrs: Attributes, opset: int, x: Array) -> Array:
    """Take the largest of every window."""
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    y = None
    for taken in _taps(attrs, x, lowest):
        y = taken.copy() if y is None else np.maximum(y, taken, out=y)
    return np.asarray(y)


def average_pool(attrs: Attributes, opset: int, x: Array) -> Array:
    """Take the mean of every window, of what lies inside the map or inside its padding."""
    ones = np.ones((1, 1, *x.shape[2:]), x.dtype)
    inside = bool(attrs.get("count_include_pad", 0))
    counts = sum(_taps(attrs, ones, 0.0, padded=1.0 if inside else 0.0))
    y = np.zeros_like(next(_taps(attrs, x, 0.0)))
    for taken in _taps(attrs, x, 0.0):
        y += taken
    return np.asarray(y / counts)


def _taps(
    attrs: Attributes, x: Array, beyond: float, padded: float | None = None
) -> Iterator[Array]:
    """Return, for each tap of a pool's window, what every output sees through it.

    `padded` fills the padding, `beyond` what `ceil_mode` adds behind it.
    """
    kernel, sizes = attrs["kernel_shape"], x.shape[2:]
    strides, dilations, around = _around(attrs, sizes, kernel)
    reaches = [(taps - 1) * apart + 1 for taps, apart in zip(kernel, dilations, strict=True)]
    out, more = [], []
    for size, (before, after), reach, stride in zip(sizes, around, reaches, strides, strict=True):
        room = size + before + after - reach
        count = room // stride + 1
        if attrs.get("ceil_mode", 0):
            count = -(-room // stride) + 1
            # A window that starts behind the map is none.
            count -= (count - 1) * stride >= size + before
        out.append(count)
        more.append((0, max(0, (count - 1) * stride - room)))
    edge = beyond if padded is None else padded
    whole = np.pad(x, [(0, 0), (0, 0), *around], constant_values=edge)
    whole = np.pad(whole, [(0, 0), (0, 0), *more], constant_values=beyond)
    for tap in itertools.product(*map(range, kernel)):
        where = tuple(
            slice(at * apart, at * apart + (count - 1) * stride + 1, stride)
            for at, apart, count, stride in zip(tap, dilations, out, strides, strict=True)
        )
        yield whole[(slice(None), slice(None), *where)]
