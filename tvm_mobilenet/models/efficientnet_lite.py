"""EfficientNet-Lite 0 to 4 as data: EfficientNet (Tan and Le, 2019, arXiv 1905.11946) for phones.

The authors' own code is the description (tensorflow/tpu, models/official/efficientnet/lite):
ReLU6 instead of swish, no squeeze-and-excite, and a stem, first stage and last stage that do
not grow with the rest.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal, NamedTuple

from tvm_mobilenet.models.growing import Block, Growing
from tvm_mobilenet.models.options import Options, Padding, chosen, divisible
from tvm_mobilenet.models.spec import Model

Number = Literal[0, 1, 2, 3, 4]

BATCH_NORM_EPSILON = 1e-5
"""As in timm; the authors' own weights have 1e-3."""

STEM, LAST_CHANNELS = 32, 1280

STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
"""Expansion, channels and repetitions of number 0, stride of the first of them, kernel."""


class _Version(NamedTuple):
    width: Fraction
    depth: Fraction
    resolution: int


_VERSIONS: dict[Number, _Version] = {
    0: _Version(Fraction(1), Fraction(1), 224),
    1: _Version(Fraction(1), Fraction("1.1"), 240),
    2: _Version(Fraction("1.1"), Fraction("1.2"), 260),
    3: _Version(Fraction("1.2"), Fraction("1.4"), 280),
    4: _Version(Fraction("1.4"), Fraction("1.8"), 300),
}


def _depths(version: _Version) -> tuple[int, ...]:
    first, *inner, last = (count for _, _, count, _, _ in STAGES)
    return (first, *(math.ceil(version.depth * count) for count in inner), last)


DEPTHS = {number: _depths(version) for number, version in _VERSIONS.items()}
"""Blocks of each stage; the first and the last stage keep theirs."""


def efficientnet_lite(
    number: Number,
    resolution: int | None = None,
    classes: int = 1000,
    batch: int = 1,
    *,
    padding: Padding | None = None,
    epsilon: float | None = None,
) -> Model:
    """Describe EfficientNet-Lite. It has no width multiplier: widths come with its number.

    Parameters
    ----------
    number : {0, 1, 2, 3, 4}
        Larger ones are wider and deeper.
    resolution : int, optional
        Height and width of the image, pixels; by default the authors', 224, 240, 260, 280
        and 300. (timm's are 300 and 380 for numbers 3 and 4.)
    classes, batch, padding, epsilon
        As for :func:`tvm_mobilenet.models.mobilenet_v2`.

    Returns
    -------
    Model
        Input (batch, 3, resolution, resolution) NCHW, output (batch, classes) probabilities;
        layers as in V2.

    Raises
    ------
    InvalidModelError
        If an option is of the wrong kind or out of range.
    """
    number = chosen("EfficientNet-Lite", number, _VERSIONS)
    version = _VERSIONS[number]
    side = version.resolution if resolution is None else resolution
    asked = Options.checked(1, side, classes, batch, padding, epsilon, lacks=("alpha",))
    net = Growing(asked, "symmetric", BATCH_NORM_EPSILON)
    net.conv("conv1", STEM, 3, 2, "relu6")
    at, channels = 0, STEM
    for count, (expansion, full, _, stride, kernel) in zip(DEPTHS[number], STAGES, strict=True):
        for position in range(count):
            at += 1
            wide, channels = channels * expansion, divisible(version.width * full)
            first = stride if position == 0 else 1
            net.block(f"block{at}", Block(wide, channels, kernel, first, "relu6"))
    net.conv("last", LAST_CHANNELS, 1, 1, "relu6")
    net.head()
    return net.model(f"efficientnet_lite{number}", f"EfficientNet-Lite{number}")
