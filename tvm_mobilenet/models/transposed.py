"""Transposed convolution: the layer; its sums are in ``spread``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from tvm_mobilenet.common.functions import Activation
from tvm_mobilenet.models.layer import Layer, Shape


@dataclass(frozen=True, slots=True)
class ConvTranspose2d(Layer):
    """Transposed convolution, then bias, then batch norm, then activation, each optional.

    Every input pixel adds its products with the taps to a window of the output, which moves by
    the strides.

    Parameters
    ----------
    out_channels : int
        Channels of the output.
    kernel, strides : tuple of int
        (height, width) in pixels.
    before : tuple of int
        (top, left) in pixels that are cut off.
    size : tuple of int
        (height, width) of the output in pixels: what lies behind is cut off, what nothing
        reaches is 0.
    groups : int
        Groups of channels that do not mix; divides both channel counts.
    bias : bool
        Whether there is a ``<name>.bias``.
    batch_norm : float or None
        Epsilon added to the variance, or None where there is no batch norm.
    activation : Activation
        Applied last.
    """

    rank: ClassVar[int | None] = 4

    out_channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    before: tuple[int, int]
    size: tuple[int, int]
    groups: int = 1
    bias: bool = False
    batch_norm: float | None = None
    activation: Activation = "none"

    def __post_init__(self) -> None:
        Layer.__post_init__(self)
        positive = (self.out_channels, self.groups, *self.kernel, *self.strides, *self.size)
        self._require(
            min(positive) > 0, "has a channel count, group, kernel, stride or size below 1"
        )
        self._require(min(self.before) >= 0, f"cuts off {self.before}, less than nothing")
        self._require(
            self.in_shape[1] % self.groups == 0 and self.out_channels % self.groups == 0,
            f"cannot split {self.in_shape[1]} and {self.out_channels} channels "
            f"into {self.groups} groups",
        )

    @property
    def out_shape(self) -> Shape:
        """(N, O, OH, OW)."""
        return (self.in_shape[0], self.out_channels, *self.size)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(O, I / groups, KH, KW): output channels first, as :class:`Conv2d` has them."""
        return (self.out_channels, self.in_shape[1] // self.groups, *self.kernel)

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) that is cut off, in pixels."""
        bottom, right = (max(behind, 0) for behind in self._behind)
        return (*self.before, bottom, right)

    @property
    def output_padding(self) -> tuple[int, int]:
        """(rows, columns) below and beside what the windows cover, in pixels."""
        rows, columns = (max(-behind, 0) for behind in self._behind)
        return (rows, columns)

    @property
    def _behind(self) -> tuple[int, int]:
        rows, columns = (
            (size - 1) * stride + taps - first - wanted
            for size, stride, taps, first, wanted in zip(
                self.in_shape[2:], self.strides, self.kernel, self.before, self.size, strict=True
            )
        )
        return (rows, columns)

    @property
    def macs(self) -> int:
        """Input pixels times the taps of each; those that are cut off count."""
        pixels = self.in_shape[0] * math.prod(self.in_shape[2:])
        return pixels * math.prod(self.weight_shape)

    @property
    def parameters(self) -> dict[str, Shape]:
        """Weight, then bias and batch-norm vectors of (O,)."""
        vectors = ["bias"] if self.bias else []
        if self.batch_norm is not None:
            vectors += ["bn.gamma", "bn.beta", "bn.mean", "bn.variance"]
        found: dict[str, Shape] = {f"{self.name}.weight": self.weight_shape}
        return found | {f"{self.name}.{vector}": (self.out_channels,) for vector in vectors}
