"""Products of two tensors, each a stack of matrices that lies in another tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.models.layer import Layer, Shape
from tvm_mobilenet.models.operator import Operator
from tvm_mobilenet.models.views import View, whole

if TYPE_CHECKING:  # what only asks for sizes does without NumPy
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Product(Layer):
    """``one @ other``: matrices of the last two axes, of shapes that NumPy multiplies.

    Parameters
    ----------
    one, other : View
        The operands, as they lie in the inputs.
    swapped : bool
        Whether the first input is what the second operand lies in.
    """

    one: View
    other: View
    swapped: bool = False

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        """Shapes of what the operands lie in."""
        shapes = (self.one.source, self.other.source)
        return shapes[::-1] if self.swapped else shapes

    @property
    def stack(self) -> Shape:
        """The axes before the last two, of the product."""
        return stack_of(self.one.shape, self.other.shape) or ()

    @property
    def out_shape(self) -> Shape:
        """The stack, rows, columns."""
        return (*self.stack, self.one.shape[-2], self.other.shape[-1])

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        count = self.one.shape[-1]
        for size in self.out_shape:
            count *= size
        return count

    def run(self, *inputs: NDArray[Any]) -> NDArray[Any]:
        """Compute it for arrays of the layer's ``in_shapes``."""
        one, other = inputs[::-1] if self.swapped else inputs
        product: NDArray[Any] = self.one.of(one) @ self.other.of(other)
        return product


def stack_of(one: Shape, other: Shape) -> Shape | None:
    """Return the axes before the last two of a product of such operands; None if there is none."""
    rank = max(len(one), len(other))
    longer = [(1,) * (rank - 2 - len(shape[:-2])) + shape[:-2] for shape in (one, other)]
    known = all(a == b or 1 in (a, b) for a, b in zip(*longer, strict=True))
    return tuple(map(max, *longer)) if known and rank > 2 else (() if known else None)


def product_of(layer: Operator) -> Product | None:
    """Return the product that an operator of an ONNX file is, if both its operands are there."""
    if layer.operator != "MatMul" or set(layer.dtypes) != {"float32"}:
        return None
    shapes = [*layer.in_shapes, *(shape for _, shape in layer.constants)]
    if len(shapes) != 2 or any(len(shape) < 2 for shape in shapes):
        return None
    swapped = len(layer.constants) == 1 and _first_is_constant(layer)
    one, other = map(whole, shapes[::-1] if swapped else shapes)
    if one.shape[-1] != other.shape[-2] or stack_of(one.shape, other.shape) is None:
        return None
    inputs = (*layer.inputs, *(name for name, _ in layer.constants))
    return Product(layer.name, inputs, shapes[0], one, other, swapped)


def _first_is_constant(layer: Operator) -> bool:
    import onnx

    (node,) = onnx.load_model_from_string(layer.node).graph.node
    return bool(node.input[0] == layer.constants[0][0])
