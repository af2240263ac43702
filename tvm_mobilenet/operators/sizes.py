"""From a layer's shapes to its workload: which operator, and channels in which blocks.

Both graphs, Relax's and Relay's, ask here, so that a layer is the same kernel in both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.layers import Conv2d, Dense, GlobalAvgPool, Scale, Softmax
from tvm_mobilenet.operators.workload import (
    Activation,
    Operator,
    Workload,
    channel_block,
    class_block,
    softmax_block,
)
from tvm_mobilenet.target import TargetSpec

Shape = tuple[int, ...]


_OVER_CHANNELS: dict[type[Layer], Literal["pool", "scale", "softmax"]] = {
    GlobalAvgPool: "pool",
    Scale: "scale",
    Softmax: "softmax",
}


def workload_of_layer(layer: Layer, target: TargetSpec) -> Workload | None:
    """Return the kernel of a layer by itself; None for one that has none of ours."""
    if isinstance(layer, Conv2d):
        # Groups that do not mix some channels are TVM's.
        if layer.groups > 1 and not layer.groups == layer.in_channels == layer.out_channels:
            return None
        return convolution(
            layer.in_shape,
            layer.out_shape,
            target,
            kernel=layer.kernel,
            strides=layer.strides,
            padding=layer.padding,
            groups=layer.groups,
            activation=layer.activation,
        )
    if isinstance(layer, Dense):
        return dense(layer.in_shape, layer.out_features, target, layer.activation)
    operator = _OVER_CHANNELS.get(type(layer))
    if operator is None or (operator == "scale" and len(set(layer.inputs)) == 1):
        return None
    return over_channels(operator, layer.in_shape, target)


def convolution(
    in_shape: Shape,
    out_shape: Shape,
    target: TargetSpec,
    *,
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[int],
    groups: int,
    activation: Activation = "none",
    residual: bool = False,
) -> Workload:
    """Return the workload of a convolution.

    Parameters
    ----------
    in_shape, out_shape : tuple of int
        NCHW.
    target : TargetSpec
    kernel, strides : sequence of int
        (height, width), pixels.
    padding : sequence of int
        (top, left, bottom, right), pixels.
    groups : int
        1, or the channels.
    activation : Activation
    residual : bool
        Whether a tensor of the output's shape is added.
    """
    n, channels, height, width = in_shape
    _, out_channels, out_height, out_width = out_shape
    plain = is_pointwise(kernel, strides, padding)
    # A lone channel is one group of one: of what computes the same, take what reads blocks.
    alone = channels == out_channels == 1 and not plain
    depthwise = groups > 1 or alone
    operator: Operator = "depthwise" if depthwise else "pointwise" if plain else "conv"
    top, left, bottom, right = padding
    work = Workload(
        operator,
        n,
        channels,
        out_channels,
        (height, width),
        (out_height, out_width),
        channel_block(channels, target) if depthwise or plain else 1,
        channel_block(out_channels, target),
        (kernel[0], kernel[1]),
        (strides[0], strides[1]),
        (top, left, bottom, right),
        activation,
        residual=residual,
    )
    return _stored(work, target)


def is_pointwise(kernel: Sequence[int], strides: Sequence[int], padding: Sequence[int]) -> bool:
    """Whether a convolution of one group reads each pixel once, where it writes it."""
    return tuple(kernel) == (1, 1) and tuple(strides) == (1, 1) and not any(padding)


def dense(
    in_shape: Shape,
    out_channels: int,
    target: TargetSpec,
    activation: Activation = "none",
    *,
    blocked: bool = False,
) -> Workload:
    """Return the workload of a dense layer.

    Parameters
    ----------
    in_shape : tuple of int
        NC, or NCHW of one pixel.
    out_channels : int
    target : TargetSpec
    activation : Activation
    blocked : bool
        Whether its output stays in blocks: then it is a pointwise layer of one pixel.
    """
    n, channels = in_shape[:2]
    block = channel_block(out_channels, target) if blocked else class_block(out_channels, target)
    work = Workload(
        "pointwise" if blocked else "dense",
        n,
        channels,
        out_channels,
        (1, 1),
        (1, 1),
        channel_block(channels, target),
        block,
        activation=activation,
    )
    return _stored(work, target)


def over_channels(
    operator: Literal["pool", "scale", "softmax"], in_shape: Shape, target: TargetSpec
) -> Workload:
    """Return the workload of an operator that mixes no channels, or has no weights.

    Parameters
    ----------
    operator : {"pool", "scale", "softmax"}
    in_shape : tuple of int
        NCHW, or NC.
    target : TargetSpec
    """
    n, channels, *rest = in_shape
    height, width = rest or (1, 1)
    size = (height, width)
    block = (softmax_block if operator == "softmax" else channel_block)(channels, target)
    work = Workload(
        operator, n, channels, channels, size, size if operator == "scale" else (1, 1), block, block
    )
    return work if operator == "softmax" else _stored(work, target)


def _stored(work: Workload, target: TargetSpec) -> Workload:
    return dataclasses.replace(work, dtype=target.dtype)
