"""MnasNet A1 and B1 (Tan et al., 2018, arXiv 1807.11626, Figure 7 and Table 1) as data."""

from __future__ import annotations

from typing import Literal

from tvm_mobilenet.models.growing import Block, Growing
from tvm_mobilenet.models.options import Options, Padding, chosen, divisible
from tvm_mobilenet.models.spec import Model

Variant = Literal["a1", "b1"]

BATCH_NORM_EPSILON = 1e-5
"""As in timm and torchvision."""

STEM, FIRST_CHANNELS, LAST_CHANNELS = 32, 16, 1280

SQUEEZE = 4
"""A block's input has that many times the channels in the middle of squeeze-and-excite."""

Row = tuple[int, int, int, int, int, bool]
"""Kernel, expansion, channels, repetitions, stride of the first, squeeze-and-excite."""

STAGES: dict[Variant, tuple[Row, ...]] = {
    "a1": (
        (3, 6, 24, 2, 2, False),
        (5, 3, 40, 3, 2, True),
        (3, 6, 80, 4, 2, False),
        (3, 6, 112, 2, 1, True),
        (5, 6, 160, 3, 2, True),
        (3, 6, 320, 1, 1, False),
    ),
    "b1": (
        (3, 3, 24, 3, 2, False),
        (5, 3, 40, 3, 2, False),
        (5, 6, 80, 3, 2, False),
        (3, 6, 96, 2, 1, False),
        (5, 6, 192, 4, 2, False),
        (3, 6, 320, 1, 1, False),
    ),
}
"""All behind the first block, which expands nothing."""


DEPTHS = {variant: (1, *(row[3] for row in rows)) for variant, rows in STAGES.items()}
"""Blocks of each stage, the first block one of its own."""


def mnasnet(
    variant: Variant,
    alpha: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    batch: int = 1,
    *,
    padding: Padding | None = None,
    epsilon: float | None = None,
) -> Model:
    """Describe MnasNet.

    Parameters
    ----------
    variant : {"a1", "b1"}
        With squeeze-and-excite, and the one that was searched for without it.
    alpha : float
        Width multiplier; channels are rounded to multiples of 8, the last 1280 stay.
    resolution, classes, batch, padding, epsilon
        As for :func:`tvm_mobilenet.models.mobilenet_v2`.

    Returns
    -------
    Model
        Input (batch, 3, resolution, resolution) NCHW, output (batch, classes) probabilities;
        layers as in V2, in A1 with ``blockN.se.pool``, ``.se.reduce``, ``.se.expand`` and
        ``.se.scale`` in some blocks.

    Raises
    ------
    InvalidModelError
        If an option is of the wrong kind or out of range.
    """
    variant = chosen("MnasNet", variant, STAGES)
    asked = Options.checked(alpha, resolution, classes, batch, padding, epsilon)
    net, width = Growing(asked, "symmetric", BATCH_NORM_EPSILON), asked.alpha
    net.conv("conv1", divisible(width * STEM), 3, 2, "relu")
    net.depthwise("block1.dw", 3, 1, "relu")
    channels = divisible(width * FIRST_CHANNELS)
    net.conv("block1.project", channels, 1, 1, "none")
    number = 1
    for kernel, expansion, full_channels, count, stride, excite in STAGES[variant]:
        for position in range(count):
            number += 1
            wide, squeezed = channels * expansion, channels // SQUEEZE if excite else 0
            channels = divisible(width * full_channels)
            first = stride if position == 0 else 1
            block = Block(wide, channels, kernel, first, "relu", squeezed, "sigmoid")
            net.block(f"block{number}", block)
    net.conv("last", LAST_CHANNELS, 1, 1, "relu")
    net.head()
    return net.model(f"mnasnet_{variant}", f"MnasNet-{variant.upper()}")
