"""Two maps element by element, one of which may be the same for all channels, pixels or images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tvm_mobilenet.models.layer import Layer, Shape
from tvm_mobilenet.models.operator import Operator

if TYPE_CHECKING:  # what only asks for sizes does without NumPy
    from numpy.typing import NDArray

ELEMENTWISE = ("Add", "Mul", "Sub")
"""The operators, as ONNX names them."""


@dataclass(frozen=True, slots=True)
class Elementwise(Layer):
    """A sum, a difference or a product of two maps.

    Parameters
    ----------
    operator : str
        One of :data:`ELEMENTWISE`.
    other_shape : tuple of int
        NCHW: 1 where the first input has more.
    swapped : bool
        Whether the first input is what is subtracted.
    """

    rank: ClassVar[int | None] = 4

    operator: str
    other_shape: Shape
    swapped: bool = False

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        """NCHW, twice."""
        return (self.in_shape, self.other_shape)

    @property
    def out_shape(self) -> Shape:
        """NCHW."""
        return tuple(map(max, self.in_shape, self.other_shape))

    def run(self, x: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
        """Compute it for arrays of the layer's ``in_shapes``."""
        one, two = (other, x) if self.swapped else (x, other)
        import numpy as np

        return np.asarray(
            {"Add": np.add, "Mul": np.multiply, "Sub": np.subtract}[self.operator](one, two)
        )


def elementwise_of(layer: Operator) -> Elementwise | None:
    """Return what an operator of two computed maps, or of a map and a constant, is; or None."""
    if layer.operator not in ELEMENTWISE or set(layer.dtypes) != {"float32"}:
        return None
    if len(layer.inputs) + len(layer.constants) != 2 or len(layer.out_shape) != 4:
        return None
    constant = len(layer.constants) == 1
    other = layer.constants[0][1] if constant else layer.other_shapes[0]
    one, two = ((1,) * (4 - len(shape)) + shape for shape in (layer.in_shape, other))
    swapped = constant and layer.operator == "Sub" and _first_is_constant(layer)
    known = all(_lies_in_blocks(shape, layer.out_shape) for shape in (one, two))
    if not known or len(layer.in_shape) != 4 or (not constant and len(other) != 4):
        return None
    inputs = (*layer.inputs, *(name for name, _ in layer.constants))
    return Elementwise(layer.name, inputs, one, layer.operator, two, swapped)


def _lies_in_blocks(shape: Shape, whole: Shape) -> bool:
    """Whether it has one or all of the images, one or all channels, and one or all pixels."""
    n, channels, *pixels = shape
    return (
        n in (1, whole[0])
        and channels in (1, whole[1])
        and tuple(pixels) in ((1, 1), tuple(whole[2:]))
    )


def _first_is_constant(layer: Operator) -> bool:
    import onnx

    (node,) = onnx.load_model_from_string(layer.node).graph.node
    return bool(node.input[0] == layer.constants[0][0])
