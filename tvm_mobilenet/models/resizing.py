"""What ONNX's Resize means, axis by axis: which elements each output reads, and how much of each.

Resizing is separable, and linear in the map: constant sizes make it a table for every axis. Which
pixel is nearest is decided in float32, as onnxruntime does: at a scale such as 1.45 a coordinate
that is whole on paper lies beside the number, on one side or the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_OUTSIDE = "tf_crop_and_resize"


@dataclass(frozen=True, slots=True)
class Taps:
    """One axis of a resized tensor.

    Attributes
    ----------
    at : ndarray
        int64, (length, taps): indices of the elements that each output reads.
    weights : ndarray
        float32, (length, taps): their factors, zero for elements that do not count.
    outside : ndarray
        bool, (length,): whether an output lies outside of the input and gets another value.
    """

    at: NDArray[np.int64]
    weights: NDArray[np.float32]
    outside: NDArray[np.bool_]

    def trimmed(self) -> Taps:
        """Return the table without elements at its ends that count nowhere."""
        used = np.flatnonzero(self.weights.any(axis=0))
        kept = slice(used[0], used[-1] + 1)
        return Taps(self.at[:, kept], self.weights[:, kept], self.outside)


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes of a Resize.

    Attributes
    ----------
    coordinates : str
        ``coordinate_transformation_mode``.
    nearest : str
        ``nearest_mode``.
    cubic : float
        ``cubic_coeff_a``.
    """

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False


def taps(rule: Attributes, before: int, after: int, scale: float, roi: tuple[float, float]) -> Taps:
    """Return the table of one axis.

    Parameters
    ----------
    before, after : int
        Lengths of the axis.
    scale : float
        Scale that the file gives, or after / before.
    roi : tuple of float
        Start and end of the region, for ``tf_crop_and_resize``, in lengths of the axis.

    Raises
    ------
    ValueError
        The mode is none of ONNX's.
    """
    real = np.float32 if rule.mode == "nearest" else np.float64
    x = _coordinates(rule.coordinates, before, after, float(scale), roi, real)
    outside = np.zeros(after, np.bool_)
    if rule.coordinates == _OUTSIDE:
        outside = (x < 0) | (x > before - 1)
    if rule.mode == "nearest":
        at = _nearest(rule.nearest, x).astype(np.int64)[:, None]
        weights = np.ones((after, 1))
    elif rule.mode in ("linear", "cubic"):
        at, weights = _window(rule, x.astype(np.float64), min(float(scale), 1.0))
    else:
        raise ValueError(f"no mode {rule.mode!r}")
    if rule.exclude_outside:
        weights = np.where((at >= 0) & (at < before), weights, 0.0)
    weights = weights / weights.sum(axis=1, keepdims=True)
    return Taps(at.clip(0, before - 1), weights.astype(np.float32), outside)


def _coordinates(  # noqa: PLR0911, PLR0917  one a mode; what each may need
    how: str, before: int, after: int, size: float, roi: tuple[float, float], real: type
) -> Any:
    """Return where each output lies in the input."""
    half, scale, last = real(0.5), real(size), real(before - 1)
    i: Any = np.arange(after, dtype=real)
    if how == "half_pixel" or (how == "pytorch_half_pixel" and after > 1):
        return (i + half) / scale - half
    if how == "pytorch_half_pixel":
        return np.zeros(after, real)
    if how == "half_pixel_symmetric":
        adjustment = real(after) / (scale * real(before))
        return real(before) * half * (1 - adjustment) + (i + half) / scale - half
    if how == "asymmetric":
        return i / scale
    if how == "align_corners":
        return i * last / real(max(after - 1, 1))
    if how == "tf_half_pixel_for_nn":
        return (i + half) / scale
    if how == _OUTSIDE:
        start, end = real(roi[0]), real(roi[1])
        if after == 1:
            return np.full(1, half * (start + end) * last, real)
        return start * last + i * (end - start) * last / real(after - 1)
    raise ValueError(f"no coordinate_transformation_mode {how!r}")


def _nearest(how: str, x: NDArray[np.float32]) -> Any:
    """Return the element that each coordinate takes; halves go down or up."""
    if how == "floor":
        return np.floor(x)
    if how == "ceil":
        return np.ceil(x)
    if how == "round_prefer_floor":
        return np.ceil(x - np.float32(0.5))
    if how == "round_prefer_ceil":
        return np.floor(x + np.float32(0.5))
    raise ValueError(f"no nearest_mode {how!r}")


def _window(
    rule: Attributes, x: NDArray[np.float64], scale: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the elements around each coordinate, and the filter's values there."""
    stretch = 1 / scale if rule.antialias else 1.0
    radius = math.ceil((1 if rule.mode == "linear" else 2) * stretch)
    first = np.floor(x).astype(np.int64) - radius + 1
    at = first[:, None] + np.arange(2 * radius)
    distance = np.abs(at - x[:, None]) / stretch
    if rule.mode == "linear":
        return at, np.maximum(1 - distance, 0)
    a, d = rule.cubic, distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return at, np.where(d <= 1, near, np.where(d < 2, far, 0.0))
