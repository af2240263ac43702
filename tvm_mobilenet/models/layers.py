"""The layers that networks are made of, as data.

Activations are NCHW (or NC after the pool), convolution weights OIHW, dense
weights (O, I). Every count is in multiply-adds (MACs), the unit of the
MobileNet papers: one MAC is two floating-point operations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from tvm_mobilenet.common.functions import Activation
from tvm_mobilenet.models.layer import Layer, Shape

ConvKind = Literal["depthwise", "pointwise", "full"]


def same_padding(
    size: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Return TensorFlow's SAME padding.

    The output has ceil(size / stride) pixels; an odd total goes to the bottom
    and right, which is why stride 2 on an even map pads (0, 0, 1, 1).

    Parameters
    ----------
    size, kernel, strides : tuple of int
        (height, width) each.

    Returns
    -------
    tuple of int
        (top, left, bottom, right) in pixels.
    """
    before, after = [], []
    for length, taps, stride in zip(size, kernel, strides, strict=True):
        total = max((-(-length // stride) - 1) * stride + taps - length, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return (before[0], before[1], after[0], after[1])


@dataclass(frozen=True, slots=True)
class Conv2d(Layer):
    """Convolution, then bias, then batch norm, then activation, each optional.

    Parameters
    ----------
    out_channels : int
        Channels of the output.
    kernel, strides : tuple of int
        (height, width) in pixels.
    padding : tuple of int
        (top, left, bottom, right) in pixels of zeros.
    groups : int
        Groups of channels that do not mix; divides both channel counts.
    bias : bool
        Whether there is a ``<name>.bias``.
    batch_norm : float or None
        Epsilon added to the variance, or None where there is no batch norm.
    activation : Activation
        Applied last.
    dilations : tuple of int
        (vertical, horizontal) distance of neighbouring taps, in pixels.
    """

    rank: ClassVar[int | None] = 4

    out_channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    bias: bool = False
    batch_norm: float | None = None
    activation: Activation = "none"
    dilations: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        Layer.__post_init__(self)
        steps = (*self.strides, *self.dilations)
        positive = (self.out_channels, self.groups, *self.kernel, *steps)
        self._require(
            min(positive) > 0, "has a channel count, group, kernel, stride or dilation below 1"
        )
        self._require(min(self.padding) >= 0, f"has a negative padding {self.padding}")
        self._require(
            self.in_channels % self.groups == 0 and self.out_channels % self.groups == 0,
            f"cannot split {self.in_channels} and {self.out_channels} channels "
            f"into {self.groups} groups",
        )
        self._require(
            min(self.out_shape) > 0,
            f"has no output pixel: kernel {self.reach} on a padded map of "
            f"{self._padded[0]}x{self._padded[1]}",
        )

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        return self.in_shape[1]

    @property
    def reach(self) -> tuple[int, int]:
        """(height, width) that a window covers, pixels: the kernel's, its taps set apart."""
        height, width = (
            (taps - 1) * apart + 1 for taps, apart in zip(self.kernel, self.dilations, strict=True)
        )
        return (height, width)

    @property
    def _padded(self) -> tuple[int, int]:
        top, left, bottom, right = self.padding
        return (self.in_shape[2] + top + bottom, self.in_shape[3] + left + right)

    @property
    def out_shape(self) -> Shape:
        """(N, O, OH, OW); a window that does not fit entirely gives no pixel."""
        rows, columns = (
            (size - reach) // stride + 1
            for size, reach, stride in zip(self._padded, self.reach, self.strides, strict=True)
        )
        return (self.in_shape[0], self.out_channels, rows, columns)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(O, I / groups, KH, KW)."""
        return (self.out_channels, self.in_channels // self.groups, *self.kernel)

    @property
    def kind(self) -> ConvKind:
        """Which of the three families of MobileNet convolutions this is."""
        if self.groups == self.in_channels == self.out_channels:
            return "depthwise"
        if (
            self.kernel == (1, 1)
            and self.groups == 1
            and self.strides == (1, 1)
            and not any(self.padding)
        ):
            return "pointwise"
        return "full"

    @property
    def macs(self) -> int:
        """Output pixels times the taps behind each; padded taps count, as in the paper."""
        return math.prod(self.out_shape) * math.prod(self.weight_shape[1:])

    @property
    def parameters(self) -> dict[str, Shape]:
        """Weight OIHW, then bias and batch-norm vectors of (O,)."""
        return _parameters(self, self.weight_shape)


@dataclass(frozen=True, slots=True)
class GlobalAvgPool(Layer):
    """Mean over the map: NCHW to NC.

    Parameters
    ----------
    keep_map : bool
        Whether the output is a map of one pixel, NC11, for convolutions to read.
    """

    rank: ClassVar[int | None] = 4

    keep_map: bool = False

    @property
    def out_shape(self) -> Shape:
        """(N, C), or (N, C, 1, 1)."""
        return (*self.in_shape[:2], 1, 1) if self.keep_map else self.in_shape[:2]


@dataclass(frozen=True, slots=True)
class Dense(Layer):
    """Fully connected layer, then what follows a convolution: (N, I) to (N, O).

    Parameters
    ----------
    out_features : int
        O.
    bias : bool
        Whether there is a ``<name>.bias``.
    activation : Activation
        Applied last.
    batch_norm : float or None
        As of :class:`Conv2d`.
    """

    rank: ClassVar[int | None] = 2

    out_features: int
    bias: bool = True
    activation: Activation = "none"
    batch_norm: float | None = None

    def __post_init__(self) -> None:
        Layer.__post_init__(self)
        self._require(self.out_features > 0, "has no output feature")

    @property
    def out_shape(self) -> Shape:
        """(N, O)."""
        return (self.in_shape[0], self.out_features)

    @property
    def macs(self) -> int:
        """N times I times O."""
        return math.prod(self.in_shape) * self.out_features

    @property
    def parameters(self) -> dict[str, Shape]:
        """Weight (O, I), then bias and batch-norm vectors of (O,)."""
        return _parameters(self, (self.out_features, self.in_shape[1]))


@dataclass(frozen=True, slots=True)
class Softmax(Layer):
    """Softmax over the features of (N, C)."""

    rank: ClassVar[int | None] = 2


@dataclass(frozen=True, slots=True)
class LpNormalization(Layer):
    """Each row of (N, C) over its Euclidean norm, a row of zeros left as it is.

    ONNX's operator of that name for p = 2 and the last axis: what networks that recognise
    faces end in (arXiv 1503.03832, section 3), and what attention between channels does to
    queries and keys (arXiv 2106.09681, section 3.1).

    Parameters
    ----------
    least : float
        What a row is divided by where its norm is smaller.
    """

    rank: ClassVar[int | None] = 2

    least: float = 0.0


@dataclass(frozen=True, slots=True)
class Add(Layer):
    """Sum of two maps of one shape: a residual connection (arXiv 1801.04381, section 3.3)."""

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        """One shape, twice."""
        return (self.in_shape, self.in_shape)


@dataclass(frozen=True, slots=True)
class Scale(Layer):
    """Map times one factor a channel: the end of squeeze-and-excite (arXiv 1709.01507).

    Inputs are the map, NCHW, and the factors, NC11.
    """

    rank: ClassVar[int | None] = 4

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        """NCHW, NC11."""
        return (self.in_shape, (*self.in_shape[:2], 1, 1))


@dataclass(frozen=True, slots=True)
class Activate(Layer):
    """An activation that does not follow a convolution or dense layer.

    Parameters
    ----------
    activation : Activation
        Any but ``"none"``.
    """

    activation: Activation


Weighted: TypeAlias = Conv2d | Dense
"""The layers that have a weight."""


def _parameters(layer: Weighted, weight: Shape) -> dict[str, Shape]:
    vectors = ["bias"] if layer.bias else []
    if layer.batch_norm is not None:
        vectors += ["bn.gamma", "bn.beta", "bn.mean", "bn.variance"]
    found: dict[str, Shape] = {f"{layer.name}.weight": weight}
    return found | {f"{layer.name}.{vector}": weight[:1] for vector in vectors}
