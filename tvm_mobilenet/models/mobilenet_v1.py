"""MobileNet V1 (Howard et al., 2017, arXiv 1704.04861, Table 1) as data."""

from __future__ import annotations

from fractions import Fraction

from tvm_mobilenet.errors import InvalidModelError
from tvm_mobilenet.models.growing import Growing
from tvm_mobilenet.models.options import Options, Padding
from tvm_mobilenet.models.spec import Model

BATCH_NORM_EPSILON = 1e-3
"""As in the authors' own code (tensorflow/models, slim); the paper does not say."""

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


def mobilenet_v1(
    alpha: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    batch: int = 1,
    padding: Padding | None = None,
    *,
    epsilon: float | None = None,
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
    padding : {"same", "symmetric"}, optional
        Where a strided layer on an even map pads its one row and column:
        bottom and right as TensorFlow does and the published weights expect,
        or one pixel on each side as PyTorch ports do. Shapes are the same. By
        default "same", or what the weights of a known source were trained with.
    epsilon : float, optional
        What every batch norm adds to the variance; 1e-3 by default, or as for padding.

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
    asked = Options.checked(alpha, resolution, classes, batch, padding, epsilon)
    net, width = Growing(asked, "same", BATCH_NORM_EPSILON), asked.alpha
    channels = _channels(width, FIRST_CHANNELS)
    net.conv("conv1", channels, 3, 2, "relu6")
    for number, (full_channels, stride) in enumerate(BLOCKS, start=1):
        net.conv(f"block{number}.dw", channels, 3, stride, "relu6", groups=channels)
        channels = _channels(width, full_channels)
        net.conv(f"block{number}.pw", channels, 1, 1, "relu6")
    net.head()
    return net.model("mobilenet_v1", "MobileNet V1")


def _channels(width: Fraction, full_channels: int) -> int:
    channels = width * full_channels
    if channels.denominator != 1:
        raise InvalidModelError(
            f"alpha {float(width):g} gives {float(channels):g} channels where the paper has "
            f"{full_channels}",
            "use a multiple of 1/32, such as 0.25, 0.5, 0.75 or 1.0",
        )
    return channels.numerator
