"""Maps with their axes in another order: channels last, as TensorFlow has them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from tvm_mobilenet.models.layer import Layer, Shape
from tvm_mobilenet.models.operator import Operator

if TYPE_CHECKING:  # what only asks for sizes does without NumPy
    from numpy.typing import NDArray

CHANNELS_FIRST = (0, 3, 1, 2)
CHANNELS_LAST = (0, 2, 3, 1)


@dataclass(frozen=True, slots=True)
class Turned(Layer):
    """A map with its axes in another order.

    Parameters
    ----------
    order : tuple of int
        For each axis of the output, which one of the input it is.
    """

    rank: ClassVar[int | None] = 4

    order: tuple[int, ...]

    @property
    def out_shape(self) -> Shape:
        """The sizes in that order."""
        return tuple(self.in_shape[axis] for axis in self.order)

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Turn an array of the layer's ``in_shape``."""
        return x.transpose(self.order)


@lru_cache(maxsize=1024)
def turned_of(layer: Operator) -> Turned | None:
    """Return what a ``Transpose`` of a map of float32 does; None of another operator."""
    if layer.operator != "Transpose" or len(layer.in_shape) != 4:
        return None
    if set(layer.dtypes) != {"float32"}:
        return None
    import onnx

    (node,) = onnx.load_model_from_string(layer.node).graph.node
    found = {attribute.name: attribute for attribute in node.attribute}
    order = tuple(found["perm"].ints) if "perm" in found else (3, 2, 1, 0)
    return Turned(layer.name, layer.inputs, layer.in_shape, order)
