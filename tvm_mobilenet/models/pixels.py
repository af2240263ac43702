"""The pixels of an image with their border: what a network that takes bytes begins with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tvm_mobilenet.models.layer import Layer, Shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST = 255
"""The brightest pixel."""

EDGE = 2.0
"""What the channel behind the colours holds in the border. Its weights, as integers, hold what
rounding the border's colour has lost of a tap's sum: up to 190, in steps of this."""


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


def edge_weights(weight: NDArray[np.int8], pixels: Pixels) -> NDArray[np.int8]:
    """Return weights (O, C + 1, KH, KW) whose last channel takes back what rounding a border lost.

    A tap in the border then adds to the sum what its colour would, within half of :data:`EDGE`.

    Parameters
    ----------
    pixels : Pixels
        With its border as it is in the float network.
    """
    import numpy as np

    lost = np.asarray(pixels.border[:-1]) - np.asarray(pixels.whole.border[:-1])
    found = weight.copy()
    found[:, -1] = np.rint(np.einsum("ocyx,c->oyx", weight[:, :-1].astype(float), lost) / EDGE)
    return found
