"""What kernels do to a sum, bit for bit: one fused multiply-add in float32, then saturation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tvm_mobilenet.models.tensors import TensorType

Array = NDArray[Any]
Float32 = NDArray[np.float32]

_BLOCK = 16 * 1024
"""Elements whose float64 numbers stay within a second-level cache."""

_DROPPED = np.int64(2**29 - 1)
"""Bits of a float64 number that float32 has no place for."""

_MIDDLE = np.int64(2**28)
"""What these are in the middle of two float32 numbers."""

_SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)


def fused_multiply_add(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> Float32:
    """Return ``a * b + c``, rounded once to float32, to nearest, ties to even.

    What is given is rounded to float32 first, as a kernel's conversion of a sum does.
    """
    given = np.broadcast_arrays(*(np.asarray(x, np.float32) for x in (a, b, c)))
    found = np.empty(given[0].shape, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        for part in _parts(found.shape):
            found[part] = _rounded_once(*(x[part] for x in given))
    return found


def _parts(shape: tuple[int, ...]) -> Iterator[tuple[Any, ...]]:
    """Cut an array into blocks along its first axes."""
    if math.prod(shape) <= _BLOCK:
        yield (...,)
        return
    each = math.prod(shape[1:])
    if each > _BLOCK:
        for at in range(shape[0]):
            for rest in _parts(shape[1:]):
                yield (at, *rest)
        return
    step = _BLOCK // each
    for at in range(0, shape[0], step):
        yield (slice(at, at + step),)


def _rounded_once(first: Float32, second: Float32, third: Float32) -> Float32:
    """Round by way of float64, which rounds twice: that differs only where the first one ties.

    The arrays have one shape. A product of two float32 numbers has 48 bits and is exact in
    float64. Its sum with the third is rounded there, and then on the same side of every middle of
    two float32 numbers as the exact sum, or on such a middle; middles of numbers below 2**-126
    have fewer bits.
    """
    product = np.multiply(first, second, dtype=np.float64)
    total = np.asarray(product + third)
    found = total.astype(np.float32)
    tied = (total.view(np.int64) & _DROPPED) == _MIDDLE
    small = np.abs(total) < _SMALLEST_NORMAL
    if small.any():
        tied |= small & (total != 0)
    if tied.any():
        found[tied] = _to_odd(product[tied], third[tied]).astype(np.float32)
    return found


def _to_odd(product: NDArray[np.float64], third: Float32) -> NDArray[np.float64]:
    """Add, rounding to odd: what is not exact becomes its neighbour whose last bit is 1.

    Float64 has more than two bits beyond float32, so that rounding that to float32 is rounding
    the exact sum (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums: proved
    algorithms using rounding to odd", IEEE Transactions on Computers 57, 2008).
    """
    total = np.asarray(product + third)
    # What rounding lost of the sum, exactly (Knuth's TwoSum).
    added = total - product
    lost = (product - (total - added)) + (third - added)
    moved = (lost != 0) & np.isfinite(lost) & ((total.view(np.int64) & 1) == 0)
    return np.where(moved, np.nextafter(total, np.copysign(np.inf, lost)), total)


def saturated(values: Float32, to: TensorType, limits: tuple[int, int] | None = None) -> Array:
    """Round to nearest, ties to even, and clip to the type's range, or to `limits` within it.

    NaN becomes the least element: on every target that is what a maximum with it gives.
    """
    low, high = to.limits if limits is None else limits
    clipped = np.fmin(np.fmax(values, np.float32(low)), np.float32(high))
    return np.asarray(np.rint(clipped).astype(to.dtype))


def centered(x: Array, of: TensorType) -> NDArray[np.int64]:
    """Return elements less their zero point: what they stand for, in units of the scale."""
    return np.asarray(x.astype(np.int64) - (of.zero_point or 0))


def dequantized(x: Array, of: TensorType) -> Float32:
    """Return what elements stand for: ``scale * (x - zero_point)``, rounded once to float32."""
    centered = x.astype(np.int32) - np.int32(of.zero_point or 0)
    return np.asarray(centered.astype(np.float32) * np.float32(of.scale[0]))
