"""A layer that is none of ours: one node of an ONNX graph, as it stands there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.models.layer import Layer, Shape

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Operator(Layer):
    """One output of one ONNX node that no other kind of layer describes.

    Parameters
    ----------
    operator : str
        Its type, such as ``"Resize"``.
    other_shapes : tuple of tuple of int
        Shapes of the inputs behind the first.
    dtypes : tuple of str
        NumPy's names, of every input and of the output.
    shape : tuple of int
        Of the output.
    constants : tuple of (str, tuple of int)
        Parameters: how the node calls them, and their shapes.
    work : int
        Multiply-adds.
    node : bytes
        ONNX model of this node alone: its inputs are those of the layer, in their order,
        then the parameters. Small constants are inside.
    """

    operator: str
    other_shapes: tuple[Shape, ...]
    dtypes: tuple[str, ...]
    shape: Shape
    constants: tuple[tuple[str, Shape], ...]
    work: int
    node: bytes

    @property
    def out_shape(self) -> Shape:
        """As the ONNX graph has it."""
        return self.shape

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        """As the ONNX graph has them."""
        return (self.in_shape, *self.other_shapes)

    @property
    def macs(self) -> int:
        """Of convolutions and products; nothing else counts."""
        return self.work

    @property
    def parameters(self) -> dict[str, Shape]:
        """By the names that the node gives them, behind the layer's."""
        return {f"{self.name}.{name}": shape for name, shape in self.constants}

    def to_onnx(self, weights: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
        """Return the node as a model whose inputs are the layer's, weights inside.

        Parameters
        ----------
        weights : mapping of str to ndarray
            At least the layer's.
        """
        import numpy as np
        import onnx
        from onnx import numpy_helper

        model = onnx.load_model_from_string(self.node)
        del model.graph.input[len(self.dtypes) - 1 :]
        for name, _ in self.constants:
            array = np.asarray(weights[f"{self.name}.{name}"], np.float32)
            model.graph.initializer.append(numpy_helper.from_array(array, name))
        return model

    def run(self, weights: Mapping[str, NDArray[Any]], *inputs: NDArray[Any]) -> NDArray[Any]:
        """Compute the output with onnx's own evaluator, floating point in float64.

        Parameters
        ----------
        weights : mapping of str to ndarray
            At least the layer's.
        *inputs : ndarray
            Of the layer's ``in_shapes``.
        """
        import numpy as np

        from tvm_mobilenet.models.double import evaluator, in_double

        model = in_double(self.to_onnx(weights))
        dtypes = [np.float64 if dtype == "float32" else dtype for dtype in self.dtypes]
        feed = {
            value.name: np.asarray(array).astype(dtype)
            for value, array, dtype in zip(model.graph.input, inputs, dtypes[:-1], strict=True)
        }
        return np.asarray(evaluator(model).run(None, feed)[0])
