"""Which numbers a value takes, and the range that 256 elements should stand for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.models.tensors import TensorType

Method = Literal["mse", "average", "minmax", "percentile"]
METHODS: tuple[Method, ...] = get_args(Method)

Range = tuple[float, float]

_LARGEST = float(np.finfo(np.float32).max)

_BINS = 4096
"""At least eight bins for each of 256 elements, once there is a range to speak of."""

_BLOCK = 64 * 1024
"""Numbers that are counted at a time, which a cache holds."""

_TAIL = 1e-4
"""What ``"percentile"`` leaves out at either end, as a share of all numbers."""

_STEPS = 64
"""In how many steps ``"mse"`` goes from 0 to the extremes."""


@dataclass
class Histogram:
    """How often which numbers came, in bins whose edges are multiples of a power of two.

    Bins are merged in pairs when there would be more than 4096, which moves no number across
    an edge: what is counted does not depend on the order in which numbers come.

    Attributes
    ----------
    exponent : int
        Bins are ``2**exponent`` wide.
    first : int
        The first bin begins at ``first * 2**exponent``.
    low, high : float
        Least and greatest number, or 0, which every range holds since borders need it.
    lows, highs : float
        Sums of the same of every image.
    images : int
        That were counted.
    """

    exponent: int = -126
    first: int = 0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    low: float = 0.0
    high: float = 0.0
    lows: float = 0.0
    highs: float = 0.0
    images: int = 0

    def add(self, values: NDArray[np.floating[Any]]) -> None:
        """Count the numbers of some images, (N, ...).

        Raises
        ------
        QuantizationError
            If one is NaN, or beyond float32.
        """
        each = values.reshape(len(values), -1)
        lows, highs = each.min(axis=1).astype(np.float64), each.max(axis=1).astype(np.float64)
        low, high = float(lows.min()), float(highs.max())
        if not -_LARGEST <= low <= high <= _LARGEST:
            raise QuantizationError(f"numbers from {low} to {high} have no range")
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.lows += float(np.minimum(lows, 0).sum())
        self.highs += float(np.maximum(highs, 0).sum())
        self.images += len(values)
        exponent = self.exponent
        while self._bin(self.high, exponent) - self._bin(self.low, exponent) >= _BINS:
            exponent += 1
        first = self._bin(self.low, exponent)
        size = self._bin(self.high, exponent) - first + 1
        old = (np.arange(len(self.counts)) + self.first) >> (exponent - self.exponent)
        counts = np.zeros(size, np.int64)
        flat = values.ravel()
        for at in range(0, len(flat), _BLOCK):
            bins = np.floor(np.ldexp(flat[at : at + _BLOCK], -exponent)).astype(np.int64)
            counts += np.bincount(bins - first, minlength=size)
        np.add.at(counts, old - first, self.counts)
        self.exponent, self.first, self.counts = exponent, first, counts

    @staticmethod
    def _bin(number: float, exponent: int) -> int:
        return math.floor(math.ldexp(number, -exponent))

    @property
    def centers(self) -> NDArray[np.float64]:
        """The middle of each bin."""
        middles = np.arange(len(self.counts)) + self.first + 0.5
        return np.asarray(np.ldexp(middles, self.exponent))


def range_of(seen: Histogram, method: Method) -> Range:
    """Return the range that elements should stand for; it holds 0.

    Parameters
    ----------
    method : {"mse", "average", "minmax", "percentile"}
        ``"minmax"`` clips nothing, ``"percentile"`` one number in 10,000 at either end,
        ``"average"`` what is beyond the mean of the images' extremes, and ``"mse"`` as much as
        makes the mean squared error of rounding and clipping least.
    """
    whole = seen.low, seen.high
    if method == "percentile":
        return _percentiles(seen, whole)
    if method == "average":
        return seen.lows / max(seen.images, 1), seen.highs / max(seen.images, 1)
    return _least_error(seen, whole) if method == "mse" else whole


def type_of(of: Range) -> TensorType:
    """Return the uint8 whose elements stand for a range, 0 among them exactly."""
    low, high = of
    scale = (high - low) / 255 or 1.0
    return TensorType("uint8", (scale,), round(-low / scale))


def _percentiles(seen: Histogram, whole: Range) -> Range:
    below = np.cumsum(seen.counts) / seen.counts.sum()
    first, last = np.searchsorted(below, (_TAIL, 1 - _TAIL))
    edges = np.ldexp(np.array([first, last + 1.0]) + seen.first, seen.exponent)
    return min(max(float(edges[0]), whole[0]), 0.0), max(min(float(edges[1]), whole[1]), 0.0)


def _least_error(seen: Histogram, whole: Range) -> Range:
    """Move either end towards 0, the upper, the lower, and the upper again."""
    low, high = whole
    parts = [(step + 1) / _STEPS for step in range(_STEPS)]
    numbers, counts = seen.centers, seen.counts
    for end in (1, 0, 1):
        tried = [(low, whole[1] * p) if end else (whole[0] * p, high) for p in parts]
        low, high = min(reversed(tried), key=lambda one: _squared_error(numbers, counts, one))
    return low, high


def _squared_error(numbers: NDArray[np.float64], counts: NDArray[np.int64], of: Range) -> float:
    """Return the sum of squared errors of numbers as the elements of a range."""
    to = type_of(of)
    scale, zero = to.scale[0], to.zero_point or 0
    elements = np.clip(np.rint(numbers / scale) + zero, *to.limits)
    return float(counts @ (numbers - scale * (elements - zero)) ** 2)
