"""Resize and Upsample as ONNX defines them, one axis after the other as a product with weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Attributes = Mapping[str, Any]


def resize(  # noqa: PLR0917  as the node has them
    attrs: Attributes,
    opset: int,
    x: Array,
    roi: Array | None = None,
    scales: Array | None = None,
    sizes: Array | None = None,
) -> Array:
    """Resize a tensor.

    Parameters
    ----------
    attrs : mapping
        The node's attributes.
    opset : int
        In opset 10 scales are the second input, and coordinates cannot be chosen.
    roi : ndarray or None
        Starts, then ends, as parts of the input, for ``tf_crop_and_resize``.
    scales, sizes : ndarray or None
        One of the two; the other one is None or empty.
    """
    if opset < 11:
        found = {"mode": attrs.get("mode", "nearest"), "nearest_mode": "simple"}
        found["coordinate_transformation_mode"] = "asymmetric"
        return _resized(found, x, None, np.asarray(roi), None)
    return _resized(
        attrs, x, *(None if a is None or not np.size(a) else a for a in (roi, scales, sizes))
    )


def upsample(attrs: Attributes, opset: int, x: Array, scales: Array | None = None) -> Array:
    """Resize as before opset 10: scales are an attribute until 8, an input in 9."""
    factors = np.asarray(attrs["scales"], np.float32) if scales is None else scales
    found = {"mode": attrs.get("mode", "nearest"), "nearest_mode": "floor"}
    found["coordinate_transformation_mode"] = "asymmetric"
    return _resized(found, x, None, factors, None)


def _resized(
    attrs: Attributes, x: Array, roi: Array | None, scales: Array | None, sizes: Array | None
) -> Array:
    known: dict[str, Any] = {k: v.decode() if isinstance(v, bytes) else v for k, v in attrs.items()}
    axes = [axis % x.ndim for axis in known.get("axes", range(x.ndim))]
    lengths = [x.shape[axis] for axis in axes]
    if scales is not None:
        # The product in float32, as runtimes have it: 10 * 1.4 is 14 and not 13.
        factors = np.asarray(scales, np.float32)
        wanted = [int(np.floor(np.float32(n) * f)) for n, f in zip(lengths, factors, strict=True)]
        ratios = [float(f) for f in factors]
    else:
        wanted = [int(size) for size in np.asarray(sizes).tolist()]
        ratios = [want / n for want, n in zip(wanted, lengths, strict=True)]
        policy = known.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            ratios = [ratio] * len(axes)
            wanted = [int(ratio * n + 0.5) for n in lengths]
    if known.get("mode", "nearest") != "nearest" and not np.all(np.isfinite(x)):
        raise NotImplementedError("a weight of 0 would make inf NaN")
    y, outside = np.asarray(x, np.float64), np.zeros((1,) * x.ndim, bool)
    for at, axis in enumerate(axes):
        length, ratio = lengths[at], ratios[at]
        window = (0.0, 1.0) if roi is None else (float(roi[at]), float(roi[at + len(axes)]))
        kind = known.get("coordinate_transformation_mode", "half_pixel")
        if (length, ratio, window) == (wanted[at], 1.0, (0.0, 1.0)):
            continue
        if known.get("mode", "nearest") == "nearest":
            # In float32, as runtimes have them: 3.5 / 1.4 - 0.5 is 2 there, and has to be.
            where = _coordinates(kind, length, wanted[at], ratio, window, np.float32)
            chosen = _nearest(known.get("nearest_mode", "round_prefer_floor"), where, ratio)
            y = np.take(y, chosen.clip(0, length - 1), axis)
        else:
            where = _coordinates(kind, length, wanted[at], ratio, window, np.float64)
            weights = _weights(known, length, where, ratio)
            y = np.moveaxis(np.tensordot(weights, y, (1, axis)), 0, axis)
        if kind == "tf_crop_and_resize":
            beyond = (where < 0) | (where > length - 1)
            outside = outside | beyond.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    if outside.any():
        y = np.where(outside, known.get("extrapolation_value", 0.0), y)
    if np.issubdtype(x.dtype, np.integer):
        limits = np.iinfo(x.dtype)
        y = np.rint(y).clip(limits.min, limits.max)
    return y.astype(x.dtype)


def _weights(
    attrs: Attributes, length: int, where: NDArray[np.float64], ratio: float
) -> NDArray[np.float64]:
    """Return what each output takes of each of `length` inputs."""
    linear = attrs.get("mode") == "linear"
    shrunk = min(1.0, ratio) if attrs.get("antialias", 0) else 1.0
    reach = math.ceil((1 if linear else 2) / shrunk) + 1
    pixels = np.floor(where).astype(int)[:, None] + np.arange(-reach, reach + 1)
    distances = np.abs(pixels - where[:, None]) * shrunk
    parts = (1 - distances).clip(0) if linear else _cubic(distances, attrs)
    if attrs.get("exclude_outside", 0):
        parts = np.where((pixels < 0) | (pixels >= length), 0.0, parts)
    parts /= parts.sum(axis=1, keepdims=True)
    weights = np.zeros((len(where), length))
    rows = np.broadcast_to(np.arange(len(where))[:, None], pixels.shape)
    np.add.at(weights, (rows, pixels.clip(0, length - 1)), parts)
    return weights


def _coordinates(  # noqa: PLR0911, PLR0917  one for each mode; what they are made of
    kind: str, length: int, wanted: int, scale: float, window: tuple[float, float], dtype: Any
) -> NDArray[Any]:
    """Return the coordinate in the input of each output, computed in `dtype`."""
    at, ratio, half = np.arange(wanted, dtype=dtype), dtype(scale), dtype(0.5)
    if kind == "asymmetric":
        return np.asarray(at / ratio)
    if kind == "align_corners":
        return np.asarray(at * dtype(length - 1) / dtype(max(1, wanted - 1)))
    if kind == "tf_half_pixel_for_nn":
        return np.asarray((at + half) / ratio)
    if kind == "tf_crop_and_resize":
        start, end = map(dtype, window)
        if wanted > 1:
            step = (end - start) * dtype(length - 1) / dtype(wanted - 1)
            return np.asarray(start * dtype(length - 1) + at * step)
        return np.asarray(at + half * (start + end) * dtype(length - 1))
    if kind == "pytorch_half_pixel" and wanted == 1:
        return at
    offset = dtype(0.0)
    if kind == "half_pixel_symmetric":
        offset = dtype(length / 2) * (1 - wanted / (ratio * dtype(length)))
    elif kind not in ("half_pixel", "pytorch_half_pixel"):
        raise NotImplementedError(kind)
    return np.asarray(offset + (at + half) / ratio - half)


def _nearest(mode: str, where: NDArray[Any], ratio: float) -> NDArray[np.int64]:
    if mode == "simple":  # of opset 10: what enlarges cuts off, what shrinks rounds up
        mode = "ceil" if ratio < 1 else "floor"
    rounded = {
        "floor": np.floor(where),
        "ceil": np.ceil(where),
        "round_prefer_floor": np.ceil(where - 0.5),
        "round_prefer_ceil": np.floor(where + 0.5),
    }[mode]
    return np.asarray(rounded, np.int64)


def _cubic(d: NDArray[np.float64], attrs: Attributes) -> NDArray[np.float64]:
    a = attrs.get("cubic_coeff_a", -0.75)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
