"""Convolution in NumPy, in the type that is given: the sums alone, without an epilogue.

There are three paths: pointwise layers are one matrix product, depthwise layers
shifted multiply-adds, and all others a product with unfolded windows (im2col).
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.models.layers import Conv2d

Float64 = NDArray[np.float64]

F = TypeVar("F", bound="np.floating[Any]")

_CACHED_ELEMENTS = 32 * 1024
"""Elements of the three arrays of one depthwise step that together stay within
a 1 MB second-level cache (8 bytes each)."""

_UNFOLDED_ELEMENTS = 1024 * 1024
"""Elements of the unfolded windows of one product: more only fill the memory."""


def convolve(layer: Conv2d, weight: NDArray[F], x: NDArray[F]) -> NDArray[F]:
    """Convolve (N, C, H, W) with OIHW into (N, O, OH, OW); the sums have the type of both."""
    if layer.kind == "pointwise":
        batch, channels, height, width = x.shape
        product = weight.reshape(-1, channels) @ x.reshape(batch, channels, height * width)
        return np.asarray(product.reshape(layer.out_shape))
    path = _depthwise if layer.kind == "depthwise" else _unfolded
    return path(layer, weight, _pad(layer, x))


def mean_sums(layer: Conv2d, weight: Float64, x: Float64) -> Float64:
    """Return the mean of :func:`convolve` over images and pixels, (O,), without convolving.

    Each sum is linear in what its taps see, so that the mean of the sums is that of the means.
    """
    padded, (kernel_rows, kernel_columns) = _pad(layer, x), layer.kernel
    seen = np.empty((layer.in_channels, *layer.kernel))
    for i in range(kernel_rows):
        for j in range(kernel_columns):
            seen[:, i, j] = padded[_seen(layer, (i, j))].mean(axis=(0, 2, 3))
    per_group = weight.reshape(layer.groups, layer.out_channels // layer.groups, -1)
    means = np.einsum("gok,gk->go", per_group, seen.reshape(layer.groups, -1))
    return np.asarray(means).reshape(-1)


def _seen(layer: Conv2d, tap: tuple[int, int]) -> tuple[Any, slice, slice]:
    """Return which of padded (..., H, W) every output pixel sees through one tap."""
    rows, columns = (
        slice(at * apart, at * apart + (count - 1) * stride + 1, stride)
        for at, apart, count, stride in zip(
            tap, layer.dilations, layer.out_shape[2:], layer.strides, strict=True
        )
    )
    return (..., rows, columns)


def _pad(layer: Conv2d, x: NDArray[F]) -> NDArray[F]:
    top, left, bottom, right = layer.padding
    if not any(layer.padding):
        return x
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))


def _depthwise(layer: Conv2d, weight: NDArray[F], padded: NDArray[F]) -> NDArray[F]:
    """Add up the shifted maps (N, C, OH, OW), one for each tap of (C, 1, KH, KW)."""
    batch, channels, rows, columns = layer.out_shape
    places = {tap: _seen(layer, tap) for tap in np.ndindex(layer.kernel)}
    y = np.zeros(layer.out_shape, padded.dtype)
    step = min(channels, max(1, _CACHED_ELEMENTS // (rows * columns)))
    product = np.empty((step, rows, columns), padded.dtype)
    for image in range(batch):
        for first in range(0, channels, step):
            some = slice(first, min(first + step, channels))
            total, maps, taps = y[image, some], padded[image, some], weight[some, 0]
            scratch = product[: total.shape[0]]
            for (i, j), seen in places.items():
                np.multiply(maps[seen], taps[:, i, j, None, None], out=scratch)
                total += scratch
    return y


def _unfolded(layer: Conv2d, weight: NDArray[F], padded: NDArray[F]) -> NDArray[F]:
    """Multiply unfolded windows by the weights, group by group, some rows of pixels at a time."""
    batch, out_channels, rows, columns = layer.out_shape
    windows = np.lib.stride_tricks.sliding_window_view(padded, layer.reach, axis=(2, 3))
    (down, right), (below, beside) = layer.strides, layer.dilations
    windows = windows[:, :, ::down, ::right, ::below, ::beside]
    per_group = weight.reshape(layer.groups, out_channels // layer.groups, -1)
    y = np.empty(layer.out_shape, padded.dtype)
    step = max(1, _UNFOLDED_ELEMENTS // (windows[:, :, 0].size))
    for first in range(0, rows, step):
        some = windows[:, :, first : first + step].transpose(0, 1, 4, 5, 2, 3)
        # (N, C, KH, KW, OH, OW) to (N, G, C/G * KH * KW, OH * OW): the order of OIHW.
        unfolded = some.reshape(batch, layer.groups, -1, some.shape[4] * columns)
        product = np.matmul(per_group, unfolded)
        y[:, :, first : first + step] = product.reshape(batch, out_channels, -1, columns)
    return y
