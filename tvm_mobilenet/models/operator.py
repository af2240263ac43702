"""A layer of no kind of ours: one node of an ONNX graph, unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.errors import UnjudgedError
from tvm_mobilenet.models.layer import Layer, Shape

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from tvm_mobilenet.models.evaluator import Judge


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
        NumPy's names of the types of every input and of the output.
    shape : tuple of int
        Shape of the output.
    constants : tuple of (str, tuple of int)
        Names that the node has for its parameters, and their shapes.
    work : int
        Multiply-adds.
    node : bytes
        A serialised ONNX model of this node alone. Its inputs are those of the layer, in their
        order, then the parameters; small constants are part of it.
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
        """Shape of the output, from the ONNX graph."""
        return self.shape

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        """Shapes of all inputs, from the ONNX graph."""
        return (self.in_shape, *self.other_shapes)

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and products; 0 for all other operators."""
        return self.work

    @property
    def parameters(self) -> dict[str, Shape]:
        """Shapes by name: the layer's name, a dot, and the node's name for the parameter."""
        return {f"{self.name}.{name}": shape for name, shape in self.constants}

    def to_onnx(self, weights: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
        """Return the node as a model that contains the weights and has the layer's inputs."""
        import numpy as np
        import onnx
        from onnx import numpy_helper

        model = onnx.load_model_from_string(self.node)
        del model.graph.input[len(self.dtypes) - 1 :]
        for name, _ in self.constants:
            array = np.asarray(weights[f"{self.name}.{name}"], np.float32)
            model.graph.initializer.append(numpy_helper.from_array(array, name))
        return model

    @property
    def halves(self) -> bool:
        """Whether it computes in float16."""
        return "float16" in self.dtypes

    def run(
        self,
        weights: Mapping[str, NDArray[Any]],
        *inputs: NDArray[Any],
        by: Judge = "onnx",
    ) -> NDArray[Any]:
        """Compute the output, floating point in float64 where the judge can.

        Parameters
        ----------
        weights : mapping of str to ndarray
            At least the layer's parameters, by their full names.
        *inputs : ndarray
            Arrays of the layer's ``in_shapes``.
        by : {"onnx", "onnxruntime"}
            The evaluator that computes it.

        Returns
        -------
        ndarray
            An array of the layer's ``out_shape``, rounded to float16 if the file declares that.

        Raises
        ------
        UnjudgedError
            The evaluator cannot compute the node.
        """
        import numpy as np
        import onnx
        from onnx import numpy_helper

        from tvm_mobilenet.models.evaluator import run_node

        model = onnx.load_model_from_string(self.node)
        (node,), (out,) = model.graph.node, model.graph.output
        values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        fed = [v.name for v in model.graph.input]
        values |= dict(zip(fed, map(np.asarray, inputs), strict=False))
        values |= {name: weights[f"{self.name}.{name}"] for name, _ in self.constants}
        dtypes = {n: v.dtype for n, v in values.items()}
        dtypes |= {n: np.dtype(t) for n, t in zip(fed, self.dtypes[:-1], strict=False)}
        values = {n: _as(v, dtypes[n]) for n, v in values.items()}
        opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        found = run_node(node, opset, values, dtypes, by=by)
        at = list(node.output).index(out.name)
        if at >= len(found) or found[at].shape != self.shape:
            raise UnjudgedError(f"{by} gives no {out.name} of shape {self.shape}: {self.operator}")
        return found[at].astype(np.float16) if self.dtypes[-1] == "float16" else found[at]


def _as(value: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Return integers and truth values in their type; floating point as it is."""
    return value if dtype.kind == "f" else value.astype(dtype)
