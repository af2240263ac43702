"""bfloat16 in NumPy, which has no such type: 16 bits as uint16, numbers as float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what only asks for sizes does without NumPy
    import numpy as np
    from numpy.typing import NDArray

_HALF, _QUIET = 0x7FFF, 0x0040
"""Half of the last bit that stays, less one; the bit that makes a NaN of any payload."""


def narrowed(numbers: NDArray[Any]) -> NDArray[np.uint16]:
    """Return the bits of float32 numbers, rounded to the nearest bfloat16, ties to even.

    What is beyond the greatest by half of a last place becomes infinite, as in a processor; NaN
    stays NaN.
    """
    import numpy as np

    bits = np.ascontiguousarray(numbers, dtype=np.float32).view(np.uint32)
    upper = bits >> 16
    rounded = (bits + (_HALF + (upper & 1))) >> 16
    return np.where(np.isnan(numbers), upper | _QUIET, rounded).astype(np.uint16)


def widened(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return what bits of bfloat16 stand for."""
    import numpy as np

    return (bits.astype(np.uint32) << 16).view(np.float32)


def rounded(numbers: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32 numbers as bfloat16 keeps them."""
    return widened(narrowed(numbers))
