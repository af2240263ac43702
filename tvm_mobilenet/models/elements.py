"""Two maps element by element, one of which may be the same for all channels, pixels or images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from tvm_mobilenet.models.layer import Layer, Shape
from tvm_mobilenet.models.operator import Operator

if TYPE_CHECKING:  # what only asks for sizes does without NumPy
    from numpy.typing import NDArray

ELEMENTWISE = ("Add", "Div", "Max", "Min", "Mul", "PRelu", "Sub")
"""The operators, as ONNX names them."""

ORDERED = frozenset({"Div", "Sub"})
"""Those of them whose inputs may stand the other way round."""


@dataclass(frozen=True, slots=True)
class Elementwise(Layer):
    """What two maps are together, or a map and a number.

    Parameters
    ----------
    operator : str
        One of :data:`ELEMENTWISE`; of ``"PRelu"`` the second map is the slopes below 0.
    other_shape : tuple of int
        NCHW: 1 where the first input has more.
    swapped : bool
        Whether the first input is what is subtracted, or divided by.
    number : float, optional
        Instead of the second map, which is none of the inputs then.
    """

    rank: ClassVar[int | None] = 4

    operator: str
    other_shape: Shape
    swapped: bool = False
    number: float | None = None

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        """NCHW, twice unless the other is a number."""
        return (self.in_shape,) if self.number is not None else (self.in_shape, self.other_shape)

    @property
    def out_shape(self) -> Shape:
        """NCHW."""
        return tuple(map(max, self.in_shape, self.other_shape))

    def run(self, x: NDArray[Any], other: NDArray[Any] | None = None) -> NDArray[Any]:
        """Compute it for arrays of the layer's ``in_shapes``."""
        import numpy as np

        second = np.asarray(self.number, x.dtype) if other is None else other
        one, two = (second, x) if self.swapped else (x, second)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.operator == "PRelu":
                return np.where(one < 0, one * two, one)
            computed = {"Add": np.add, "Div": np.divide, "Max": np.maximum, "Min": np.minimum,
                        "Mul": np.multiply, "Sub": np.subtract}[self.operator]  # fmt: skip
            return np.asarray(computed(one, two))


@dataclass(frozen=True, slots=True)
class Slopes(Layer):
    """A PReLU: what lies below 0, times one slope a channel."""

    rank: ClassVar[int | None] = 4

    @property
    def parameters(self) -> dict[str, Shape]:
        """The slopes, (C,)."""
        return {f"{self.name}.slope": self.in_shape[1:2]}


def is_slopes(layer: Layer) -> bool:
    """Whether an operator of a file is a PReLU of one slope a channel."""
    found = elementwise_of(layer) if isinstance(layer, Operator) else None
    each = (1, layer.in_shape[1], 1, 1) if found is not None else ()
    return (
        found is not None
        and found.operator == "PRelu"
        and len(layer.inputs) == 1
        and found.other_shape == each
    )


@lru_cache(maxsize=1024)
def elementwise_of(layer: Operator) -> Elementwise | None:
    """Return what an operator of two computed maps, or of a map and a constant, is; or None."""
    if layer.operator not in ELEMENTWISE or set(layer.dtypes) != {"float32"}:
        return None
    if len(layer.in_shape) != 4 or len(layer.out_shape) != 4:
        return None
    operands = len(layer.inputs) + len(layer.constants)
    return _with_number(layer) if operands == 1 else _of_two(layer) if operands == 2 else None


def _of_two(layer: Operator) -> Elementwise | None:
    constant = len(layer.constants) == 1
    other = layer.constants[0][1] if constant else layer.other_shapes[0]
    one, two = ((1,) * (4 - len(shape)) + shape for shape in (layer.in_shape, other))
    known = all(_lies_in_blocks(shape, layer.out_shape) for shape in (one, two))
    swapped = _first(layer) != "x0"
    if not known or (not constant and len(other) != 4) or (swapped and layer.operator == "PRelu"):
        return None
    inputs = (*layer.inputs, *(name for name, _ in layer.constants))
    swapped = swapped and layer.operator in ORDERED
    return Elementwise(layer.name, inputs, one, layer.operator, two, swapped)


def _with_number(layer: Operator) -> Elementwise | None:
    """Return an operator on a map and a constant of one element, which is part of its node."""
    import onnx

    graph = onnx.load_model_from_string(layer.node).graph
    (node,), given = graph.node, {one.name: one for one in graph.initializer}
    names = [name for name in node.input if name in given]
    if len(node.input) != 2 or len(names) != 1:
        return None
    value = onnx.numpy_helper.to_array(given[names[0]])
    finite = value.size == 1 and math.isfinite(float(value.reshape(-1)[0]))
    swapped = node.input[0] == names[0]
    if not finite or layer.out_shape != layer.in_shape or (swapped and layer.operator == "PRelu"):
        return None
    swapped = swapped and layer.operator in ORDERED
    number, single = float(value.reshape(-1)[0]), (1, 1, 1, 1)
    return Elementwise(
        layer.name, layer.inputs, layer.in_shape, layer.operator, single, swapped, number
    )


def _lies_in_blocks(shape: Shape, whole: Shape) -> bool:
    """Whether it has one or all of the images, one or all channels, and one or all pixels."""
    n, channels, *pixels = shape
    return (
        n in (1, whole[0])
        and channels in (1, whole[1])
        and tuple(pixels) in ((1, 1), tuple(whole[2:]))
    )


def _first(layer: Operator) -> str:
    """Return the name that the node of an operator has for its first input."""
    import onnx

    (node,) = onnx.load_model_from_string(layer.node).graph.node
    return str(node.input[0])
