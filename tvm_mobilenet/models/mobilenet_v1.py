"""MobileNet V1 (Howard et al., 2017, arXiv 1704.04861, Table 1) as data."""

from __future__ import annotations

import operator
from fractions import Fraction
from typing import Any, Literal, SupportsIndex

from tvm_mobilenet.errors import InvalidModelError
from tvm_mobilenet.models.spec import (
    INPUT,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Model,
    Softmax,
    same_padding,
)

Padding = Literal["same", "symmetric"]

BATCH_NORM_EPSILON = 1e-3
"""Of the authors' own code (tensorflow/models, slim); the paper does not say."""

FIRST_CHANNELS = 32

BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    # Table 1 prints s2 here, but gives a 7x7 input and a 7x7 output: it is 1.
    (1024, 1),
)
"""Output channels at alpha 1 and depthwise stride of the 13 separable blocks."""

SMALLEST_RESOLUTION = 32
"""The total stride: from here on every strided layer has a map to halve and the
last one leaves at least a pixel that stands for a whole cell of the image. Below
it, strided layers would see a single pixel among padding."""


def mobilenet_v1(
    alpha: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    batch: int = 1,
    padding: Padding = "same",
) -> Model:
    """Describe MobileNet V1.

    Parameters
    ----------
    alpha : float
        Width multiplier. Every channel count must come out whole: as the
        counts are 32, 64, …, 1024, it must be a multiple of 1/32.
    resolution : int
        Height and width of the image in pixels, 32 or more; any such number,
        multiple of 32 or not.
    classes : int
        Outputs of the classifier.
    batch : int
        Images per run.
    padding : {"same", "symmetric"}
        Where a strided layer on an even map pads its one row and column:
        bottom and right as TensorFlow does and the published weights expect,
        or one pixel on each side as PyTorch ports do. Shapes are the same.

    Returns
    -------
    Model
        Input (batch, 3, resolution, resolution) NCHW, output (batch, classes)
        probabilities; layers ``conv1``, ``block1.dw``, ``block1.pw``, …,
        ``pool``, ``classifier``, ``softmax``.

    Raises
    ------
    InvalidModelError
        If an option is of the wrong kind, out of range, or gives a fraction
        of a channel.
    """
    width = _exact(alpha)
    size = _whole("resolution", resolution, SMALLEST_RESOLUTION)
    images = _whole("batch", batch, 1)
    labels = _whole("classes", classes, 1)
    if padding not in ("same", "symmetric"):
        raise InvalidModelError(f"unknown padding {padding!r}", "use 'same' or 'symmetric'")

    def conv(name: str, channels: int, taps: int, stride: int, groups: int = 1) -> Conv2d:
        shape = layers[-1].out_shape if layers else (images, 3, size, size)
        half = taps // 2
        around = (half, half, half, half)
        if padding == "same":
            around = same_padding((shape[2], shape[3]), (taps, taps), (stride, stride))
        return Conv2d(
            name=name,
            inputs=(layers[-1].name if layers else INPUT,),
            in_shape=shape,
            out_channels=channels,
            kernel=(taps, taps),
            strides=(stride, stride),
            padding=around,
            groups=groups,
            batch_norm=BATCH_NORM_EPSILON,
            activation="relu6",
        )

    layers: list[Layer] = []
    channels = _channels(width, FIRST_CHANNELS)
    layers.append(conv("conv1", channels, 3, 2))
    for number, (full_channels, stride) in enumerate(BLOCKS, start=1):
        layers.append(conv(f"block{number}.dw", channels, 3, stride, groups=channels))
        channels = _channels(width, full_channels)
        layers.append(conv(f"block{number}.pw", channels, 1, 1))
    layers.append(GlobalAvgPool("pool", (layers[-1].name,), layers[-1].out_shape))
    layers.append(Dense("classifier", ("pool",), layers[-1].out_shape, labels))
    layers.append(Softmax("softmax", ("classifier",), layers[-1].out_shape))
    return Model(
        name="mobilenet_v1",
        title=f"MobileNet V1 {float(width)}/{size}",
        options={
            "alpha": float(width),
            "resolution": size,
            "classes": labels,
            "batch": images,
            "padding": padding,
        },
        input_shape=(images, 3, size, size),
        layers=tuple(layers),
    )


def _exact(alpha: Any) -> Fraction:
    # Through the decimal text: 0.1 means a tenth, not the nearest binary fraction.
    try:
        width = Fraction(0) if isinstance(alpha, bool) else Fraction(str(alpha))
    except (ValueError, ZeroDivisionError):
        width = Fraction(0)
    if width <= 0:
        raise InvalidModelError(
            f"alpha must be a positive number, not {alpha!r}", "use 0.25, 0.5, 0.75 or 1.0"
        )
    return width


def _channels(width: Fraction, full_channels: int) -> int:
    channels = width * full_channels
    if channels.denominator != 1:
        raise InvalidModelError(
            f"alpha {float(width):g} gives {float(channels):g} channels where the paper has "
            f"{full_channels}",
            "use a multiple of 1/32, such as 0.25, 0.5, 0.75 or 1.0",
        )
    return channels.numerator


def _whole(option: str, value: SupportsIndex, smallest: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise InvalidModelError(f"{option} must be a whole number, not {value!r}")
    if number < smallest:
        raise InvalidModelError(
            f"{option} must be at least {smallest}, not {number}", f"raise {option}"
        )
    return number
