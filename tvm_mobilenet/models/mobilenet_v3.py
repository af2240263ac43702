"""MobileNet V3 (Howard et al., 2019, arXiv 1905.02244, Tables 1 and 2) as data."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from tvm_mobilenet.models.growing import Block, Growing
from tvm_mobilenet.models.options import Options, Padding, divisible
from tvm_mobilenet.models.spec import Activation, Model

BATCH_NORM_EPSILON = 1e-3
"""As in torchvision and in the authors' code."""

FIRST_CHANNELS = 16

LAST_EXPANSION = 6
"""Channels of the last pointwise layer over those of the block before."""

_RE: Activation = "relu"
_HS: Activation = "hardswish"

Row = tuple[int, int, int, bool, Activation, int]
"""Kernel, expanded channels, channels, squeeze-and-excite, activation, stride."""

LARGE: tuple[Row, ...] = (
    (3, 16, 16, False, _RE, 1),
    (3, 64, 24, False, _RE, 2),
    (3, 72, 24, False, _RE, 1),
    (5, 72, 40, True, _RE, 2),
    (5, 120, 40, True, _RE, 1),
    (5, 120, 40, True, _RE, 1),
    (3, 240, 80, False, _HS, 2),
    (3, 200, 80, False, _HS, 1),
    (3, 184, 80, False, _HS, 1),
    (3, 184, 80, False, _HS, 1),
    (3, 480, 112, True, _HS, 1),
    (3, 672, 112, True, _HS, 1),
    (5, 672, 160, True, _HS, 2),
    (5, 960, 160, True, _HS, 1),
    (5, 960, 160, True, _HS, 1),
)
"""Table 1."""

SMALL: tuple[Row, ...] = (
    (3, 16, 16, True, _RE, 2),
    (3, 72, 24, False, _RE, 2),
    (3, 88, 24, False, _RE, 1),
    (5, 96, 40, True, _HS, 2),
    (5, 240, 40, True, _HS, 1),
    (5, 240, 40, True, _HS, 1),
    (5, 120, 48, True, _HS, 1),
    (5, 144, 48, True, _HS, 1),
    (5, 288, 96, True, _HS, 2),
    (5, 576, 96, True, _HS, 1),
    (5, 576, 96, True, _HS, 1),
)
"""Table 2."""


@dataclass(frozen=True, slots=True)
class _Version:
    name: str
    title: str
    rows: tuple[Row, ...]
    hidden: int
    """Features of the head's hidden layer at alpha 1."""


_LARGE = _Version("mobilenet_v3_large", "MobileNet V3-Large", LARGE, 1280)
_SMALL = _Version("mobilenet_v3_small", "MobileNet V3-Small", SMALL, 1024)


def mobilenet_v3_large(
    alpha: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    batch: int = 1,
    padding: Padding | None = None,
    *,
    epsilon: float | None = None,
) -> Model:
    """Describe MobileNet V3-Large.

    Parameters
    ----------
    alpha : float
        Width multiplier; channels are rounded to multiples of 8. A block expands what it
        gets by the factor that it has at 1.0, and the head's hidden layer never gets
        narrower: so the paper's figures at 0.75 come out. torchvision multiplies both.
    resolution, classes, batch, padding, epsilon
        As for :func:`tvm_mobilenet.models.mobilenet_v2`; epsilon 1e-3 by default.

    Returns
    -------
    Model
        Input (batch, 3, resolution, resolution) NCHW, output (batch, classes)
        probabilities; layers as in V2, with ``blockN.se.pool``, ``.se.reduce``,
        ``.se.expand`` and ``.se.scale`` in some blocks, and ``hidden`` before
        ``classifier``.

    Raises
    ------
    InvalidModelError
        If an option is of the wrong kind or out of range.
    """
    asked = Options.checked(alpha, resolution, classes, batch, padding, epsilon)
    return _describe(_LARGE, asked)


def mobilenet_v3_small(
    alpha: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    batch: int = 1,
    padding: Padding | None = None,
    *,
    epsilon: float | None = None,
) -> Model:
    """Describe MobileNet V3-Small; see :func:`mobilenet_v3_large`."""
    asked = Options.checked(alpha, resolution, classes, batch, padding, epsilon)
    return _describe(_SMALL, asked)


def _describe(version: _Version, asked: Options) -> Model:
    net, width = Growing(asked, "symmetric", BATCH_NORM_EPSILON), asked.alpha
    channels, full_before = divisible(width * FIRST_CHANNELS), FIRST_CHANNELS
    net.conv("conv1", channels, 3, 2, _HS)
    for number, row in enumerate(version.rows, start=1):
        kernel, full_expanded, full_channels, excite, activation, stride = row
        # As many times the block's input as at alpha 1: so the authors' code, and timm.
        expanded = divisible(Fraction(full_expanded, full_before) * channels)
        channels, full_before = divisible(width * full_channels), full_channels
        # A quarter of the expansion (section 5.3), rounded as channels are.
        squeezed = divisible(Fraction(expanded // 4)) if excite else 0
        block = Block(expanded, channels, kernel, stride, activation, squeezed)
        net.block(f"block{number}", block)
    net.conv("last", LAST_EXPANSION * channels, 1, 1, _HS)
    net.head(hidden=divisible(max(width, Fraction(1)) * version.hidden))
    return net.model(version.name, version.title)
