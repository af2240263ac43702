"""What kernels do to a sum, bit for bit: one fused multiply-add in float32, then saturation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tvm_mobilenet.models.tensors import TensorType

Array = NDArray[Any]
Float32 = NDArray[np.float32]


def fused_multiply_add(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> Float32:
    """Return ``a * b + c``, rounded once to float32, to nearest, ties to even.

    What is given is rounded to float32 first, as a kernel's conversion of a sum does.
    The product of two has 48 bits and is exact in float64. The sum is rounded to odd there: where
    it is not exact, to the one of its two neighbours whose last bit is 1. Float64 has more than
    two bits beyond float32, so that rounding that to float32 is rounding the exact sum (Boldo and
    Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding
    to odd", IEEE Transactions on Computers 57, 2008).
    """
    first, second, third = (np.asarray(x, np.float32).astype(np.float64) for x in (a, b, c))
    with np.errstate(invalid="ignore", over="ignore"):
        product = first * second
        total = np.asarray(product + third)
        # What rounding lost of the sum, exactly (Knuth's TwoSum).
        added = total - product
        lost = (product - (total - added)) + (third - added)
        to_odd = (lost != 0) & np.isfinite(lost) & ((total.view(np.int64) & 1) == 0)
        if to_odd.any():
            total = np.where(to_odd, np.nextafter(total, np.copysign(np.inf, lost)), total)
        return total.astype(np.float32)


def saturated(values: Float32, to: TensorType, limits: tuple[int, int] | None = None) -> Array:
    """Round to nearest, ties to even, and clip to the type's range, or to `limits` within it.

    NaN becomes the least element: on every target that is what a maximum with it gives.
    """
    low, high = to.limits if limits is None else limits
    clipped = np.fmin(np.fmax(values, np.float32(low)), np.float32(high))
    return np.asarray(np.rint(clipped).astype(to.dtype))


def dequantized(x: Array, of: TensorType) -> Float32:
    """Return what elements stand for: ``scale * (x - zero_point)``, rounded once to float32."""
    centered = x.astype(np.int32) - np.int32(of.zero_point or 0)
    return np.asarray(centered.astype(np.float32) * np.float32(of.scale[0]))
