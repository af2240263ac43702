"""Rows of tokens: each less its mean, over its deviation, scaled and shifted by channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tvm_mobilenet.models.layer import Layer, Shape


@dataclass(frozen=True, slots=True)
class LayerNorm(Layer):
    """Layer normalisation of the rows of (N, C) (arXiv 1607.06450), as ONNX has it.

    Parameters
    ----------
    epsilon : float
        Added to the variance.
    """

    rank: ClassVar[int | None] = 2

    bias: ClassVar[bool] = True
    batch_norm: ClassVar[float | None] = None

    epsilon: float = 1e-5

    @property
    def parameters(self) -> dict[str, Shape]:
        """What a channel is multiplied by, and what is added to it: (C,) each."""
        channels = self.in_shape[1:]
        return {f"{self.name}.weight": channels, f"{self.name}.bias": channels}
