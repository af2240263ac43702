"""Tensors that lie in others: what slices, transpositions and views of one leave of it.

Where an element of such a tensor lies is a sum of its indices times strides. Those are not taken
from what operators mean, but from what they do to the numbers of their input's elements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.errors import UnjudgedError
from tvm_mobilenet.models.layer import Layer, Shape
from tvm_mobilenet.models.operator import Operator

if TYPE_CHECKING:  # what only asks for sizes does without NumPy
    from numpy.typing import NDArray

VIEWING = frozenset({
    "Expand", "Flatten", "Gather", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip
"""Operators that may only say where in their input elements lie."""

_SCALING = ("Div", "Mul")

_ELEMENTS = 1 << 22

_MOST_LOOPS = 3


Steps = tuple[tuple[int, int], ...]
"""An axis as loops, from outer to inner: how many elements, and how far apart they lie."""


@dataclass(frozen=True, slots=True)
class View:
    """Where the elements of a tensor lie in another one.

    Attributes
    ----------
    source : tuple of int
        Shape of the other tensor, which lies in one piece.
    axes : tuple of Steps
        Each axis of this one, in elements.
    offset : int
        Where its first element lies.
    factor : float
        What elements are multiplied by.
    """

    source: Shape
    axes: tuple[Steps, ...]
    offset: int = 0
    factor: float = 1.0

    @classmethod
    def told(cls, fields: Mapping[str, Any]) -> View:
        """Return the view of some fields, as :func:`dataclasses.asdict` and JSON have them."""
        return cls(**{name: _tuples(value) for name, value in fields.items()})

    @property
    def shape(self) -> Shape:
        """Its own shape."""
        return tuple(math.prod(size for size, _ in steps) for steps in self.axes)

    @property
    def strides(self) -> tuple[int, ...] | None:
        """How far apart elements lie along each axis; None where an axis is several loops."""
        strides = tuple(steps[0][1] for steps in self.axes if len(steps) == 1)
        return strides if len(strides) == len(self.axes) else None

    @property
    def is_whole(self) -> bool:
        """Whether it is the other tensor by another shape."""
        return self == replace(whole(self.shape), source=self.source)

    def numbers(self) -> NDArray[Any]:
        """Return the place of each element in the other tensor."""
        import numpy as np

        places = np.full(self.shape, self.offset, np.int64)
        for axis, steps in enumerate(self.axes):
            along = np.zeros(1, np.int64)
            for size, stride in steps:
                along = (along[:, None] + np.arange(size) * stride).reshape(-1)
            places += along.reshape(-1, *(1,) * (len(self.axes) - axis - 1))
        return places

    def of(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return its elements, given those of the other tensor."""
        taken: NDArray[Any] = x.reshape(-1)[self.numbers()]
        return taken if self.factor == 1.0 else taken * self.factor


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def whole(shape: Shape) -> View:
    """Return a tensor as a view of itself."""
    strides = (math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    axes = (
        ((size, stride if size > 1 else 0),) for size, stride in zip(shape, strides, strict=True)
    )
    return View(shape, tuple(axes))


def strided(places: NDArray[Any], source: Shape) -> View | None:
    """Return the view in which elements have these places; None where loops do not say them."""
    import numpy as np

    first = int(places.flat[0])
    axes = []
    for axis in range(places.ndim):
        at = tuple(slice(None) if i == axis else 0 for i in range(places.ndim))
        steps = _steps(places[at] - first)
        if steps is None:
            return None
        axes.append(steps)
    found = View(source, tuple(axes), first)
    return found if np.array_equal(found.numbers(), places) else None


def _steps(places: NDArray[Any]) -> Steps | None:
    """Return the loops, inner ones as long as they go, that give the places along an axis."""
    import numpy as np

    found: list[tuple[int, int]] = []
    while len(places) > 1:
        stride = int(places[1] - places[0])
        (breaks,) = np.nonzero(np.diff(places) != stride)
        count = int(breaks[0]) + 1 if len(breaks) else len(places)
        if len(places) % count or count == 1 or len(found) == _MOST_LOOPS:
            return None
        found.insert(0, (count, stride))
        inside = np.arange(count) * stride
        if not np.array_equal(places, (places[::count, None] + inside).reshape(-1)):
            return None
        places = places[::count]
    return tuple(found) or ((1, 0),)


@lru_cache(maxsize=1024)
def through(layer: Operator, view: View) -> View | None:
    """Return the view that an operator makes of one; None if it computes more than that."""
    if len(layer.inputs) != 1 or layer.parameters or set(layer.dtypes) != {"float32"}:
        return None
    if max(math.prod(view.shape), math.prod(layer.out_shape)) > _ELEMENTS:
        return None
    try:
        if layer.operator in _SCALING:
            factor = _factor(layer)
            return None if factor is None else replace(view, factor=view.factor * factor)
        if layer.operator not in VIEWING:
            return None
        places = layer.run({}, view.numbers().astype("float64")).astype("int64")
    except UnjudgedError:
        return None
    found = strided(places, view.source)
    return None if found is None else replace(found, factor=view.factor)


def _factor(layer: Operator) -> float | None:
    """Return the number that an operator multiplies by, if it does that."""
    import numpy as np

    if layer.in_shape != layer.out_shape:
        return None
    one, two = (layer.run({}, np.full(layer.in_shape, number)) for number in (1.0, 2.0))
    factor = float(one.flat[0])
    same = np.array_equal(one, np.full_like(one, factor)) and np.array_equal(two, 2 * one)
    return factor if same and math.isfinite(factor) else None


@dataclass(frozen=True, slots=True)
class Copy(Layer):
    """A tensor of its own of what lies in another one.

    Parameters
    ----------
    view : View
        Where; its factor is 1.
    from_blocks, into_blocks : bool
        Whether the other tensor, and this one, lies in blocks of channels.
    """

    view: View
    from_blocks: bool = False
    into_blocks: bool = False

    @property
    def out_shape(self) -> Shape:
        """The view's."""
        return self.view.shape

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Copy the elements."""
        return self.view.of(x)
