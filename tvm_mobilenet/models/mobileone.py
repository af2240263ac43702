"""MobileOne S0 to S4 (Vasu et al., 2022, arXiv 2206.04040, Tables 2 and 3) as data.

The network that runs: in training every convolution is several branches with a batch norm
each, and their sum is one convolution with a bias, which is all that is left here.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, NamedTuple

from tvm_mobilenet.models.growing import Growing
from tvm_mobilenet.models.options import Options, Padding, chosen, divisible
from tvm_mobilenet.models.spec import Model

Variant = Literal["s0", "s1", "s2", "s3", "s4"]

LARGEST_STEM = 64

STAGES = ((64, 2), (128, 8), (256, 10), (512, 1))
"""Channels at a width of 1, and blocks; the first block of each stage has stride 2."""

SQUEEZE = 16
"""A map has that many times the channels in the middle of its squeeze-and-excite."""


class _Version(NamedTuple):
    widths: tuple[float, float, float, float]
    excited: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Blocks at the end of each stage that have squeeze-and-excite behind both convolutions."""


_VERSIONS: dict[Variant, _Version] = {
    "s0": _Version((0.75, 1.0, 1.0, 2.0)),
    "s1": _Version((1.5, 1.5, 2.0, 2.5)),
    "s2": _Version((1.5, 2.0, 2.5, 4.0)),
    "s3": _Version((2.0, 2.5, 3.0, 4.0)),
    "s4": _Version((3.0, 3.5, 3.5, 4.0), (0, 0, 5, 1)),
}


DEPTHS = {variant: tuple(count for _, count in STAGES) for variant in _VERSIONS}
"""Blocks of each stage: the same of all."""


def mobileone(
    variant: Variant,
    resolution: int = 224,
    classes: int = 1000,
    batch: int = 1,
    *,
    padding: Padding | None = None,
) -> Model:
    """Describe MobileOne, its branches folded. Each stage has a width that comes with the variant.

    Parameters
    ----------
    variant : {"s0", "s1", "s2", "s3", "s4"}
        The last one has squeeze-and-excite in its late blocks.
    resolution, classes, batch, padding
        As for :func:`tvm_mobilenet.models.mobilenet_v2`. There is no batch norm, and so no
        epsilon.

    Returns
    -------
    Model
        Input (batch, 3, resolution, resolution) NCHW, output (batch, classes) probabilities;
        layers ``conv1``, ``block1.dw``, ``block1.pw``, …, ``pool``, ``classifier``,
        ``softmax``. In S4 some ``blockN.dw`` and ``blockN.pw`` are followed by ``.dw_se.pool``,
        ``.dw_se.reduce``, ``.dw_se.expand``, ``.dw_se.scale`` and ``.dw_act``.

    Raises
    ------
    InvalidModelError
        If an option is of the wrong kind or out of range.
    """
    variant = chosen("MobileOne", variant, _VERSIONS)
    lacks = ("alpha", "epsilon")
    asked = Options.checked(1, resolution, classes, batch, padding, None, lacks=lacks)
    net, version = Growing(asked, "symmetric", None), _VERSIONS[variant]
    net.conv("conv1", min(LARGEST_STEM, _wide(STAGES[0][0], version.widths[0])), 3, 2, "relu")
    number = 0
    for (full, count), width, excited in zip(STAGES, version.widths, version.excited, strict=True):
        for position in range(count):
            number += 1
            block, excite = f"block{number}", position >= count - excited
            activation: Literal["none", "relu"] = "none" if excite else "relu"
            net.depthwise(f"{block}.dw", 3, 2 if position == 0 else 1, activation)
            _excite(net, f"{block}.dw", excite)
            net.conv(f"{block}.pw", _wide(full, width), 1, 1, activation)
            _excite(net, f"{block}.pw", excite)
    net.head()
    return net.model(f"mobileone_{variant}", f"MobileOne-{variant.upper()}")


def _wide(channels: int, width: float) -> int:
    return int(channels * width)


def _excite(net: Growing, name: str, excite: bool) -> None:
    """Append squeeze-and-excite and the activation, which follows it."""
    if excite:
        squeezed = divisible(Fraction(net.last[1][1], SQUEEZE))
        net.squeeze_and_excite(f"{name}_se", squeezed, "sigmoid")
        net.activate(f"{name}_act", "relu")
