"""MobileNet V2 (Sandler et al., 2018, arXiv 1801.04381, Table 2) as data."""

from __future__ import annotations

from fractions import Fraction

from tvm_mobilenet.models.growing import Block, Growing
from tvm_mobilenet.models.options import Options, Padding, divisible
from tvm_mobilenet.models.spec import Model

BATCH_NORM_EPSILON = 1e-5
"""As in torchvision, whose weights are the ones at hand; the paper does not say."""

FIRST_CHANNELS, LAST_CHANNELS = 32, 1280

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion t, channels c, repetitions n, stride s of the first of them."""


def mobilenet_v2(
    alpha: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    batch: int = 1,
    padding: Padding | None = None,
    *,
    epsilon: float | None = None,
) -> Model:
    """Describe MobileNet V2.

    Parameters
    ----------
    alpha : float
        Width multiplier; channels are rounded to multiples of 8. The last pointwise
        layer never gets narrower than 1280 (section 5 of the paper).
    resolution, classes, batch, padding, epsilon
        As for :func:`tvm_mobilenet.models.mobilenet_v1`; by default padding as PyTorch
        does, whose weights are the published ones, and an epsilon of 1e-5.

    Returns
    -------
    Model
        Input (batch, 3, resolution, resolution) NCHW, output (batch, classes)
        probabilities; layers ``conv1``, ``block1.dw``, ``block1.project``,
        ``block2.expand``, …, ``block3.add``, …, ``last``, ``pool``, ``classifier``,
        ``softmax``.

    Raises
    ------
    InvalidModelError
        If an option is of the wrong kind or out of range.
    """
    asked = Options.checked(alpha, resolution, classes, batch, padding, epsilon)
    net, width = Growing(asked, "symmetric", BATCH_NORM_EPSILON), asked.alpha
    channels = divisible(width * FIRST_CHANNELS)
    net.conv("conv1", channels, 3, 2, "relu6")
    number = 0
    for expansion, full_channels, count, stride in STAGES:
        for position in range(count):
            number += 1
            wide, channels = channels * expansion, divisible(width * full_channels)
            first = stride if position == 0 else 1
            net.block(f"block{number}", Block(wide, channels, 3, first, "relu6"))
    net.conv("last", divisible(max(width, Fraction(1)) * LAST_CHANNELS), 1, 1, "relu6")
    net.head()
    return net.model("mobilenet_v2", "MobileNet V2")
