"""The pixels of an image with their border: what a network that takes bytes begins with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tvm_mobilenet.models.layer import Layer, Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 255
"""The brightest pixel."""


@dataclass(frozen=True, slots=True)
class Pixels(Layer):
    """Pixels of 0 to 255 with a border, and one more channel: 0 but in the border.

    Parameters
    ----------
    padding : tuple of int
        Border, (top, left, bottom, right) in pixels.
    border : tuple of float
        What it holds, for each channel of the output.
    """

    rank: ClassVar[int | None] = 4

    padding: tuple[int, int, int, int]
    border: tuple[float, ...]

    @property
    def out_shape(self) -> Shape:
        """(N, C + 1, H, W), the border among height and width."""
        n, channels, height, width = self.in_shape
        top, left, bottom, right = self.padding
        return (n, channels + 1, height + top + bottom, width + left + right)

    @property
    def whole(self) -> Pixels:
        """The same with a border that bytes hold."""
        border = (min(max(round(value), 0), MOST) for value in self.border)
        return dataclasses.replace(self, border=tuple(map(float, border)))

    def framed(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return (N, C, H, W) as the layer's value, in the same type."""
        import numpy as np

        _, channels, height, width = self.in_shape
        top, left = self.padding[:2]
        rows, columns = slice(top, top + height), slice(left, left + width)
        y = np.empty(self.out_shape, x.dtype)
        y[:] = np.asarray(self.border)[:, None, None]
        y[:, :channels, rows, columns] = x
        y[:, channels, rows, columns] = 0
        return y
