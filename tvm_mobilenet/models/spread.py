"""Transposed convolution in NumPy, in the type that is given: the sums alone, and its weights."""

from __future__ import annotations

import itertools
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.models.transposed import ConvTranspose2d

F = TypeVar("F", bound="np.floating[Any]")


def spread(layer: ConvTranspose2d, weight: NDArray[F], x: NDArray[F]) -> NDArray[F]:
    """Return the sums alone, (N, O, OH, OW), of (N, I, H, W): one product for each tap."""
    batch, channels, *sizes = x.shape
    (kh, kw), (sh, sw), (top, left) = layer.kernel, layer.strides, layer.before
    outside, per_group = layer.out_channels // layer.groups, channels // layer.groups
    room = [
        max((size - 1) * stride + taps, first + wanted)
        for size, stride, taps, first, wanted in zip(
            sizes, layer.strides, layer.kernel, layer.before, layer.size, strict=True
        )
    ]
    whole = np.zeros((batch, layer.out_channels, *room), x.dtype)
    grouped = x.reshape(batch, layer.groups, per_group, -1)
    shaped = weight.reshape(layer.groups, outside, per_group, kh, kw)
    for r, q in itertools.product(range(kh), range(kw)):
        product = np.matmul(shaped[..., r, q], grouped).reshape(batch, -1, *sizes)
        rows = slice(r, r + (sizes[0] - 1) * sh + 1, sh)
        whole[:, :, rows, slice(q, q + (sizes[1] - 1) * sw + 1, sw)] += product
    return whole[:, :, top : top + layer.size[0], left : left + layer.size[1]]


def inputs_first(layer: ConvTranspose2d, weight: NDArray[F]) -> NDArray[F]:
    """Return a weight as ONNX and TVM have it, (I, O / groups, KH, KW)."""
    grouped = weight.reshape(layer.groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    return np.ascontiguousarray(grouped.reshape(layer.in_shape[1], -1, *layer.kernel))


def outputs_first(weight: NDArray[F], groups: int) -> NDArray[F]:
    """Return a weight (I, O / groups, KH, KW) as the layer has it."""
    grouped = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    return np.ascontiguousarray(grouped.reshape(-1, grouped.shape[2], *weight.shape[2:]))
