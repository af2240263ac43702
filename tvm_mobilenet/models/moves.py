"""Elements of maps in other places: what concatenates, slices, pads, enlarges or shuffles maps.

Which element goes where is asked of the operators themselves: they are run on the numbers of their
inputs' elements (:func:`moves_of`).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from tvm_mobilenet.errors import UnjudgedError
from tvm_mobilenet.models.layer import Layer, Shape
from tvm_mobilenet.models.operator import Operator

if TYPE_CHECKING:  # what only asks for sizes does without NumPy
    from numpy.typing import NDArray

MOVING = frozenset({
    "Concat", "DepthToSpace", "Gather", "Pad", "Reshape", "Resize", "Slice", "Split", "Transpose",
    "Upsample",
})  # fmt: skip
"""Operators that may do nothing but move elements."""

FILLED = -1
"""Instead of a channel, row or column: what lies there is no element of an input."""

_FIRST = 2**40
"""The number of the first element: what a padding fills in is smaller."""

_PERIODS = ((1, 1), (2, 2), (3, 3), (4, 4), (2, 1), (1, 2))

_ELEMENTS = 1 << 24


@dataclass(frozen=True, slots=True)
class Moves(Layer):
    """A map whose elements are those of other maps, or one number.

    Parameters
    ----------
    other_shapes : tuple of tuple of int
        Shapes of the inputs behind the first: NCHW with its pixels.
    channels : tuple of int
        For each place in a period, row by row, and each output channel: which channel of all
        inputs one after the other it is, or :data:`FILLED`.
    rows, columns : tuple of int
        For each of the output, which of the inputs it is, or :data:`FILLED`.
    period : tuple of int
        (rows, columns) after which the channels repeat: the block of a depth-to-space.
    fill : float
        What lies where nothing was moved to.
    """

    rank: ClassVar[int | None] = 4

    other_shapes: tuple[Shape, ...]
    channels: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    period: tuple[int, int] = (1, 1)
    fill: float = 0.0

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        """Shapes of all inputs."""
        return (self.in_shape, *self.other_shapes)

    @property
    def out_shape(self) -> Shape:
        """NCHW."""
        channels = len(self.channels) // math.prod(self.period)
        return (self.in_shape[0], channels, len(self.rows), len(self.columns))

    def run(self, *inputs: NDArray[Any]) -> NDArray[Any]:
        """Move the elements of arrays of the layer's ``in_shapes``."""
        import numpy as np

        maps, (a, b) = np.concatenate(inputs, axis=1), self.period
        channels = np.array(self.channels).reshape(a, b, -1)
        rows, columns = np.array(self.rows), np.array(self.columns)
        out = np.full(self.out_shape, self.fill, maps.dtype)
        for i, j in np.ndindex(a, b):
            index = np.ix_(channels[i, j], rows[i::a], columns[j::b])
            moved = maps[:, index[0], index[1], index[2]]
            there = (index[0] != FILLED) & (index[1] != FILLED) & (index[2] != FILLED)
            out[:, :, i::a, j::b] = np.where(there, moved, out[:, :, i::a, j::b])
        return out


@lru_cache(maxsize=256)
def moves_of(*layers: Operator) -> Moves | None:
    """Return what operators, each reading the one before it, move; None if they do more than that.

    Only maps of float32 with the same pixels are looked at, and only what moves whole rows,
    columns and channels, or channels by the period that a depth-to-space has.
    """
    first, last = layers[0], layers[-1]
    shapes = (*first.in_shapes, last.out_shape)
    if any(len(shape) != 4 for shape in shapes) or any(layer.parameters for layer in layers):
        return None
    floats = {dtype for layer in layers for dtype in layer.dtypes} == {"float32"}
    pixels = {(shape[0], *shape[2:]) for shape in first.in_shapes}
    large = max(math.prod(shape) for shape in shapes) > _ELEMENTS
    if not floats or len(pixels) > 1 or large or {layer.operator for layer in layers} - MOVING:
        return None
    import numpy as np

    numbers = np.arange(_FIRST, _FIRST + sum(map(math.prod, first.in_shapes)), dtype=np.float64)
    n, _, height, width = first.in_shape
    counts = [shape[1] for shape in first.in_shapes]
    maps = numbers.reshape(n, sum(counts), height, width)
    inputs = np.split(maps, np.cumsum(counts)[:-1], axis=1)
    try:
        moved = layers[0].run({}, *inputs)
        for layer in layers[1:]:
            moved = layer.run({}, moved)
    except UnjudgedError:
        return None
    return _described(first, np.asarray(moved, np.float64), maps)


def _described(first: Operator, moved: NDArray[Any], maps: NDArray[Any]) -> Moves | None:
    """Say where elements have come from, if channels, rows and columns are enough to say it."""
    import numpy as np

    there = moved >= _FIRST
    fills = set(moved[~there].tolist())
    if len(fills) > 1 or not there.any() or not all(map(math.isfinite, fills)):
        return None
    number = np.where(there, moved - _FIRST, -1).astype(np.int64)
    _, count, height, width = maps.shape
    raw = number // (height * width) % count, number // width % height, number % width
    where = tuple(np.where(there, part, FILLED) for part in raw)
    marked = np.where(there, moved, -1.0)
    _, _, rows, columns = moved.shape
    for a, b in _PERIODS:
        if rows % a or columns % b:
            continue
        places = [where[0][:, :, i::a, j::b].max(axis=(0, 2, 3)) for i, j in np.ndindex(a, b)]
        made = Moves(
            first.name,
            first.inputs,
            first.in_shape,
            first.in_shapes[1:],
            tuple(int(channel) for place in places for channel in place),
            tuple(where[1].max(axis=(0, 1, 3)).tolist()),
            tuple(where[2].max(axis=(0, 1, 2)).tolist()),
            (a, b),
            next(iter(fills), 0.0),
        )
        if np.array_equal(dataclasses.replace(made, fill=-1.0).run(maps), marked):
            return made
    return None
