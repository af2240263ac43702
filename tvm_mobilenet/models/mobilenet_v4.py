"""MobileNet V4, convolutions only (Qin et al., 2024, arXiv 2404.10518) as data.

The layers are those of timm 1.0 (``models/mobilenetv3.py``, ``_gen_mobilenet_v4``), whose
weights are the published ones. The paper prints 3.8, 9.2 and 31 million parameters for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple, TypeAlias

from tvm_mobilenet.models.growing import Growing
from tvm_mobilenet.models.options import Options, Padding, chosen, divisible
from tvm_mobilenet.models.spec import Model

Variant = Literal["conv-small", "conv-medium", "conv-large"]

BATCH_NORM_EPSILON = 1e-5
"""As in timm."""

LAST_CHANNELS, HIDDEN = 960, 1280


class Conv(NamedTuple):
    """A full or pointwise convolution."""

    kernel: int
    stride: int
    channels: int


class Fused(NamedTuple):
    """A fused inverted bottleneck: one full convolution expands and filters."""

    kernel: int
    stride: int
    expansion: int
    channels: int


class Bottleneck(NamedTuple):
    """A universal inverted bottleneck (section 4): what V2's block, ConvNeXt's and a plain FFN are.

    A depthwise layer may stand before the expansion, without an activation, and in the middle:
    `before` and `middle` are their kernels, 0 for none. The last of them has the stride.
    """

    before: int
    middle: int
    stride: int
    expansion: int
    channels: int


Block: TypeAlias = Conv | Fused | Bottleneck


@dataclass(frozen=True, slots=True)
class _Version:
    title: str
    stem: int
    resolution: int
    """Height and width that the paper measured it at, pixels."""
    stages: tuple[tuple[Block, ...], ...]


_SMALL = (
    (Conv(3, 2, 32), Conv(1, 1, 32)),
    (Conv(3, 2, 96), Conv(1, 1, 64)),
    (Bottleneck(5, 5, 2, 3, 96), *(Bottleneck(0, 3, 1, 2, 96),) * 4, Bottleneck(3, 0, 1, 4, 96)),
    (
        Bottleneck(3, 3, 2, 6, 128),
        Bottleneck(5, 5, 1, 4, 128),
        Bottleneck(0, 5, 1, 4, 128),
        Bottleneck(0, 5, 1, 3, 128),
        *(Bottleneck(0, 3, 1, 4, 128),) * 2,
    ),
)
_MEDIUM = (
    (Fused(3, 2, 4, 48),),
    (Bottleneck(3, 5, 2, 4, 80), Bottleneck(3, 3, 1, 2, 80)),
    (
        Bottleneck(3, 5, 2, 6, 160),
        *(Bottleneck(3, 3, 1, 4, 160),) * 2,
        Bottleneck(3, 5, 1, 4, 160),
        Bottleneck(3, 3, 1, 4, 160),
        Bottleneck(3, 0, 1, 4, 160),
        Bottleneck(0, 0, 1, 2, 160),
        Bottleneck(3, 0, 1, 4, 160),
    ),
    (
        Bottleneck(5, 5, 2, 6, 256),
        Bottleneck(5, 5, 1, 4, 256),
        *(Bottleneck(3, 5, 1, 4, 256),) * 2,
        Bottleneck(0, 0, 1, 4, 256),
        Bottleneck(3, 0, 1, 4, 256),
        Bottleneck(3, 5, 1, 2, 256),
        Bottleneck(5, 5, 1, 4, 256),
        *(Bottleneck(0, 0, 1, 4, 256),) * 2,
        Bottleneck(5, 0, 1, 2, 256),
    ),
)
_LARGE = (
    (Fused(3, 2, 4, 48),),
    (Bottleneck(3, 5, 2, 4, 96), Bottleneck(3, 3, 1, 4, 96)),
    (
        Bottleneck(3, 5, 2, 4, 192),
        *(Bottleneck(3, 3, 1, 4, 192),) * 3,
        Bottleneck(3, 5, 1, 4, 192),
        *(Bottleneck(5, 3, 1, 4, 192),) * 5,
        Bottleneck(3, 0, 1, 4, 192),
    ),
    (
        Bottleneck(5, 5, 2, 4, 512),
        *(Bottleneck(5, 5, 1, 4, 512),) * 3,
        Bottleneck(5, 0, 1, 4, 512),
        Bottleneck(5, 3, 1, 4, 512),
        *(Bottleneck(5, 0, 1, 4, 512),) * 2,
        Bottleneck(5, 3, 1, 4, 512),
        Bottleneck(5, 5, 1, 4, 512),
        *(Bottleneck(5, 0, 1, 4, 512),) * 3,
    ),
)
_VERSIONS: dict[Variant, _Version] = {
    "conv-small": _Version("MobileNet V4-Conv-Small", 32, 224, _SMALL),
    "conv-medium": _Version("MobileNet V4-Conv-Medium", 32, 256, _MEDIUM),
    "conv-large": _Version("MobileNet V4-Conv-Large", 24, 384, _LARGE),
}


DEPTHS: dict[Variant, tuple[int, ...]] = {
    variant: tuple(map(len, version.stages)) for variant, version in _VERSIONS.items()
}
"""Blocks of each stage, the last convolution left out."""


def mobilenet_v4(
    variant: Variant,
    alpha: float = 1.0,
    resolution: int | None = None,
    classes: int = 1000,
    batch: int = 1,
    *,
    padding: Padding | None = None,
    epsilon: float | None = None,
) -> Model:
    """Describe MobileNet V4.

    Parameters
    ----------
    variant : {"conv-small", "conv-medium", "conv-large"}
        Those of convolutions alone; the hybrids have attention.
    alpha : float
        Width multiplier, as timm has it: channels are rounded to multiples of 8, the stem
        never gets narrower, and the head's 1280 features stay.
    resolution : int, optional
        Height and width of the image, pixels; by default what the paper measured: 224 of the
        small, 256 of the medium, 384 of the large network.
    classes, batch, padding, epsilon
        As for :func:`tvm_mobilenet.models.mobilenet_v2`.

    Returns
    -------
    Model
        Input (batch, 3, resolution, resolution) NCHW, output (batch, classes) probabilities;
        layers ``conv1``, then of each block some of ``blockN.conv``, ``.fused``, ``.start``,
        ``.expand``, ``.dw``, ``.project``, ``.add``, then ``last``, ``pool``, ``hidden``,
        ``classifier``, ``softmax``.

    Raises
    ------
    InvalidModelError
        If an option is of the wrong kind or out of range.
    """
    variant = chosen("MobileNet V4", variant, _VERSIONS)
    version = _VERSIONS[variant]
    side = version.resolution if resolution is None else resolution
    asked = Options.checked(alpha, side, classes, batch, padding, epsilon)
    net, width = Growing(asked, "symmetric", BATCH_NORM_EPSILON), asked.alpha
    net.conv("conv1", divisible(max(width, Fraction(1)) * version.stem), 3, 2, "relu")
    blocks = [block for stage in version.stages for block in stage]
    for number, block in enumerate(blocks, start=1):
        _append(net, f"block{number}", block, divisible(width * block.channels))
    net.conv("last", divisible(width * LAST_CHANNELS), 1, 1, "relu")
    net.head(HIDDEN, "relu", normed=True)
    return net.model(f"mobilenet_v4_{variant.replace('-', '_')}", version.title)


def _append(net: Growing, name: str, block: Block, channels: int) -> None:
    if isinstance(block, Conv):
        net.conv(f"{name}.conv", channels, block.kernel, block.stride, "relu")
        return
    before = net.last
    expanded = divisible(Fraction(before[1][1] * block.expansion))
    if isinstance(block, Fused):
        net.conv(f"{name}.fused", expanded, block.kernel, block.stride, "relu")
    else:
        if block.before:
            net.depthwise(
                f"{name}.start", block.before, 1 if block.middle else block.stride, "none"
            )
        net.conv(f"{name}.expand", expanded, 1, 1, "relu")
        if block.middle:
            net.depthwise(f"{name}.dw", block.middle, block.stride, "relu")
    net.conv(f"{name}.project", channels, 1, 1, "none")
    net.add(f"{name}.add", before)
