"""From a layer's shapes to its workload: which operator, and channels in which blocks.

Both graphs, Relax's and Relay's, ask here, so that a layer is the same kernel in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from tvm_mobilenet.models.layer import Layer, Shape
from tvm_mobilenet.models.spec import Conv2d
from tvm_mobilenet.models.spec import Dense as DenseLayer
from tvm_mobilenet.operators.dense import in_blocks
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.over_channels import OverChannels
from tvm_mobilenet.operators.pointwise import is_pointwise
from tvm_mobilenet.operators.workload import Activation, Workload, channel_block
from tvm_mobilenet.target import TargetSpec

__all__ = ["convolution", "dense", "is_pointwise", "over_channels", "workload_of_layer"]


def workload_of_layer(layer: Layer, target: TargetSpec) -> Workload | None:
    """Return the kernel of a layer by itself; None for one that has none of ours."""
    found = (facts.of_layer(layer, target) for facts in OPERATORS.values())
    return next((work for work in found if work is not None), None)


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
    (rows, columns), (down, across) = kernel, strides
    top, left, bottom, right = padding
    # Of a separable block the output is that of its second layer.
    filters, out_channels = in_shape[1] if groups > 1 else out_shape[1], out_shape[1]
    layer = Conv2d(
        "", ("",), in_shape, filters, (rows, columns), (down, across),
        (top, left, bottom, right), groups, activation=activation,
    )  # fmt: skip
    return replace(
        _known(layer, target),
        out_channels=out_channels,
        out_block=channel_block(out_channels, target),
        residual=residual,
    )


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
    layer = DenseLayer("", ("",), in_shape[:2], out_channels, activation=activation)
    return in_blocks(layer, target) if blocked else _known(layer, target)


def _known(layer: Layer, target: TargetSpec) -> Workload:
    work = workload_of_layer(layer, target)
    assert work is not None
    return work


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
    facts = OPERATORS[operator]
    assert isinstance(facts, OverChannels)
    return facts.of_shape(in_shape, target)
