"""What is made of all pixels of a channel: the largest, and maps with mean and variance taken out.

The mean alone is :class:`tvm_mobilenet.models.layers.GlobalAvgPool`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from tvm_mobilenet.models.layer import Layer, Shape
from tvm_mobilenet.models.operator import Operator

if TYPE_CHECKING:  # what only asks for sizes does without NumPy
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class GlobalMax(Layer):
    """The largest element of each channel: NCHW to NC11."""

    rank: ClassVar[int | None] = 4

    @property
    def out_shape(self) -> Shape:
        """(N, C, 1, 1)."""
        return (*self.in_shape[:2], 1, 1)

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the largest elements of an array of the layer's ``in_shape``."""
        return x.max(axis=(2, 3), keepdims=True)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class InstanceNorm(Layer):
    """Each channel less its mean, over its deviation, times a weight, plus a bias.

    Parameters
    ----------
    epsilon : float
        Added to the variance, which is that of an image (arXiv 1607.08022, section 2).
    """

    rank: ClassVar[int | None] = 4

    epsilon: float

    @property
    def parameters(self) -> dict[str, Shape]:
        """Weight and bias, (C,) each."""
        channels = self.in_shape[1:2]
        return {f"{self.name}.weight": channels, f"{self.name}.bias": channels}

    def run(self, x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any]) -> NDArray[Any]:
        """Compute it for an array of the layer's ``in_shape``."""
        import numpy as np

        rest = x - x.mean(axis=(2, 3), keepdims=True)
        variance = (rest**2).mean(axis=(2, 3), keepdims=True)
        scale = weight[:, None, None] / np.sqrt(variance + self.epsilon)
        return np.asarray(rest * scale + bias[:, None, None])


@lru_cache(maxsize=256)
def over_pixels_of(layer: Operator) -> GlobalMax | InstanceNorm | None:
    """Return which of the two an operator on a map of float32 is; None of any other."""
    names = ("GlobalMaxPool", "ReduceMax", "InstanceNormalization")
    known = layer.operator in names and set(layer.dtypes) == {"float32"}
    if not known or len(layer.in_shape) != 4 or len(layer.inputs) != 1:
        return None
    if layer.operator == "GlobalMaxPool":
        return GlobalMax(layer.name, layer.inputs, layer.in_shape)
    import onnx
    from onnx import helper, numpy_helper

    graph = onnx.load_model_from_string(layer.node).graph
    (node,) = graph.node
    if layer.operator == "ReduceMax":
        axes = [numpy_helper.to_array(one) for one in graph.initializer]
        whole = len(axes) == 1 and sorted(int(axis) % 4 for axis in axes[0]) == [2, 3]
        kept = layer.out_shape == (*layer.in_shape[:2], 1, 1)
        return GlobalMax(layer.name, layer.inputs, layer.in_shape) if whole and kept else None
    attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if len(layer.constants) != 2:
        return None
    return InstanceNorm(layer.name, layer.inputs, layer.in_shape, float(attrs.get("epsilon", 1e-5)))
