"""Operators that move elements, as tables of where each output comes from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tvm_mobilenet.models.importer.expansion import Expansion, Rule
from tvm_mobilenet.models.importer.graph import Array
from tvm_mobilenet.models.resizing import Attributes, taps

_MANY = 4
"""Elements an output may read of an axis; from here on a product with a matrix is cheaper."""


def _resize(e: Expansion) -> str:
    """Read every axis by its table, or multiply it by the matrix that the table is."""
    before, after = e.shape, e.graph.shape(e.graph.outputs[0])
    axes = [int(a) % len(before) for a in e.node.attrs.get("axes", range(len(before)))]
    scales = _scales(e, axes, before, after)
    region = e.constant(1)
    rule = Attributes(
        e.text("mode", "nearest"),
        e.text("coordinate_transformation_mode", "half_pixel"),
        e.text("nearest_mode", "round_prefer_floor"),
        float(e.node.attrs.get("cubic_coeff_a", -0.75)),
        bool(e.node.attrs.get("exclude_outside", 0)),
        bool(e.node.attrs.get("antialias", 0)),
    )
    crops = rule.coordinates == "tf_crop_and_resize"
    y, outside = e.node.inputs[0], np.zeros((1,) * len(before), np.bool_)
    for number, axis in enumerate(axes):
        if before[axis] == after[axis] and scales[number] == 1 and not crops:
            continue
        roi = (0.0, 1.0)
        if crops and region is not None:
            roi = (float(region[number]), float(region[len(axes) + number]))
        try:
            table = taps(rule, before[axis], after[axis], float(scales[number]), roi)
        except ValueError as error:
            raise e.refuse(f"has {error}") from None
        y = _read_axis(e, y, table.at, table.weights, axis, before[axis])
        outside = outside | table.outside.reshape(
            [-1 if a == axis else 1 for a in range(len(before))]
        )
    if outside.any():
        other = e.floats(e.node.attrs.get("extrapolation_value", 0.0))
        y = e.op("Where", outside, other, y)
    return y


def _scales(e: Expansion, axes: list[int], before: Any, after: Any) -> list[float]:
    """Return the scale of each axis: as stated, or what the sizes come to."""
    stated = e.constant(2)
    if stated is not None:
        return [float(scale) for scale in stated]
    sizes = e.constant(3)
    asked = [float(after[axis] if sizes is None else sizes[i]) for i, axis in enumerate(axes)]
    scales = [size / before[axis] for size, axis in zip(asked, axes, strict=True)]
    policy = e.text("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return scales
    return [min(scales) if policy == "not_larger" else max(scales)] * len(axes)


def _read_axis(  # noqa: PLR0917  a tensor, an axis and its table
    e: Expansion, x: str, at: Array, weights: Array, axis: int, length: int
) -> str:
    """Return sums of weighted elements of an axis."""
    count, rank = at.shape[1], len(e.shape)
    if count == 1 and (weights == 1).all():
        return e.op("Gather", x, at[:, 0], axis=axis)
    if count > _MANY:
        matrix = np.zeros((len(at), length))
        np.add.at(matrix, (np.arange(len(at))[:, None], at), weights)
        last = [a for a in range(rank) if a != axis] + [axis]
        y = e.op("Transpose", x, perm=last)
        y = e.op("MatMul", y, e.floats(matrix.T))
        return e.op("Transpose", y, perm=[last.index(a) for a in range(rank)])
    total = ""
    for tap in range(count):
        factor = e.floats(weights[:, tap]).reshape([-1 if a == axis else 1 for a in range(rank)])
        part = e.op("Mul", e.op("Gather", x, np.ascontiguousarray(at[:, tap]), axis=axis), factor)
        total = e.op("Add", total, part) if total else part
    return total


def _tile(e: Expansion) -> str | None:
    """Read each axis again and again: LLVM 22 compiles TVM's own wrong for AVX-512."""
    repeats = e.constant(1)
    if repeats is None:
        raise e.refuse("repeats by a number that depends on the image")
    y = e.node.inputs[0]
    for axis, (length, count) in enumerate(zip(e.shape, repeats.tolist(), strict=True)):
        if count != 1:
            y = e.op("Gather", y, np.tile(np.arange(length), count), axis=axis)
    return y


def _pad(e: Expansion) -> str | None:
    """Cut what negative pads cut, and pad the rest; reflections and wraps read by a table."""
    pads, rank = e.constant(1), len(e.shape)
    if pads is None:
        raise e.refuse("pads by a number that depends on the image")
    axes = e.constant(3)
    full = np.zeros((2, rank), np.int64)
    full[:, range(rank) if axes is None else axes] = pads.reshape(2, -1)
    mode, y = e.text("mode", "constant"), e.node.inputs[0]
    cut, widths = np.maximum(-full, 0), np.maximum(full, 0)
    if mode != "constant":
        kinds: dict[str, Any] = {"edge": "edge", "reflect": "reflect", "wrap": "wrap"}
        for axis, length in enumerate(e.shape):
            left = np.arange(cut[0, axis], length - cut[1, axis])
            if full[:, axis].any():
                y = e.op("Gather", y, np.pad(left, widths[:, axis], kinds[mode]), axis=axis)
        return y
    if cut.any():
        ends = np.asarray(e.shape) - cut[1]
        y = e.op("Slice", y, cut[0], ends, np.arange(rank))
    if not widths.any():
        return y
    return e.op("Pad", y, widths.ravel(), *e.node.inputs[2:3], mode="constant")


def _scatter(e: Expansion) -> str:
    """Read data and updates by a table: where they go is known."""
    indices, shape = e.constant(1), e.shape
    if indices is None or e.text("reduction", "none") != "none":
        raise e.refuse("writes to where depends on the image, or adds up what it writes")
    places = np.arange(math.prod(shape)).reshape(shape)
    if e.node.op == "ScatterND":
        wrapped = indices % np.array(shape[: indices.shape[-1]])
        targets = places[tuple(np.moveaxis(wrapped, -1, 0))]
    else:
        axis = e.axis(0)
        where: list[Array] = [*np.indices(indices.shape)]
        where[axis] = indices % shape[axis]
        targets = places[tuple(where)]
    table = places.ravel()
    table[targets.ravel()] = table.size + np.arange(targets.size)
    flat = [e.op("Reshape", e.node.inputs[i], np.array([-1])) for i in (0, 2)]
    both = e.op("Concat", *flat, axis=0)
    return e.op("Reshape", e.op("Gather", both, table, axis=0), np.array(shape))


INDICES: dict[str, Rule] = {
    "Pad": _pad,
    "Resize": _resize,
    "ScatterElements": _scatter,
    "ScatterND": _scatter,
    "Tile": _tile,
}
