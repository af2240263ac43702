"""Maps with more or fewer pixels, each a weighted sum of those around it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from tvm_mobilenet.models.layer import Layer, Shape
from tvm_mobilenet.models.operator import Operator

if TYPE_CHECKING:  # what only asks for sizes does without NumPy
    from numpy.typing import NDArray

    from tvm_mobilenet.models.resizing import Taps

_MODES = ("linear", "cubic")


@dataclass(frozen=True, slots=True)
class Resized(Layer):
    """A map whose rows and columns are sums of a few of another one's.

    Parameters
    ----------
    size : tuple of int
        (height, width) of the output, pixels.
    scales : tuple of float
        (vertical, horizontal), as the file has them: `size` may be rounded down.
    mode : {"linear", "cubic"}
        The filter.
    coordinates : str
        Where the middle of a pixel lies in the other map, as ONNX's
        ``coordinate_transformation_mode`` names it.
    cubic : float
        Coefficient of the cubic filter.
    exclude_outside : bool
        Whether pixels beyond the edge have no weight; else they are those at the edge.
    antialias : bool
        Whether the filter is as wide as the output's pixels where these are larger.
    """

    rank: ClassVar[int | None] = 4

    size: tuple[int, int]
    scales: tuple[float, float]
    mode: str = "linear"
    coordinates: str = "half_pixel"
    cubic: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False

    @property
    def out_shape(self) -> Shape:
        """NCHW."""
        return (*self.in_shape[:2], *self.size)

    def tables(self) -> tuple[Taps, Taps]:
        """Return which rows, and which columns, each of the output is made of.

        Raises
        ------
        ValueError
            The file's words are none of ONNX's.
        """
        from tvm_mobilenet.models.resizing import Attributes, taps

        rule = Attributes(
            self.mode, self.coordinates, "", self.cubic, self.exclude_outside, self.antialias
        )
        rows, columns = (
            taps(rule, before, after, scale, (0.0, 1.0)).trimmed()
            for before, after, scale in zip(self.in_shape[2:], self.size, self.scales, strict=True)
        )
        return rows, columns

    def run(self, x: NDArray[Any], *, absolute: bool = False) -> NDArray[Any]:
        """Resize an array of the layer's ``in_shape``, rows before columns.

        With `absolute` by the magnitudes of the weights.
        """
        import numpy as np

        for axis, table in zip((2, 3), self.tables(), strict=True):
            weights = np.abs(table.weights) if absolute else table.weights
            shape = (-1, 1) if axis == 2 else (-1,)
            parts = [
                np.take(x, at, axis) * each.reshape(shape)
                for at, each in zip(table.at.T, weights.T.astype(np.float64), strict=True)
            ]
            x = np.sum(parts, axis=0)
        return x


@lru_cache(maxsize=256)
def resized_of(layer: Operator) -> Resized | None:
    """Return what a linear or cubic ``Resize`` of rows and columns is; None of anything else."""
    if layer.operator != "Resize" or len(layer.in_shape) != 4 or layer.halves:
        return None
    if layer.dtypes[0] != "float32" or layer.out_shape[:2] != layer.in_shape[:2]:
        return None
    import onnx
    from onnx import helper, numpy_helper

    graph = onnx.load_model_from_string(layer.node).graph
    (node,) = graph.node
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    attrs: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    attrs = {k: v.decode() if isinstance(v, bytes) else v for k, v in attrs.items()}
    axes = [int(axis) % 4 for axis in attrs.get("axes", range(4))]
    stated = constants.get(node.input[2]) if len(node.input) > 2 else None
    if len(layer.inputs) != 1 or attrs.get("mode") not in _MODES:
        return None
    scales = [after / before for after, before in zip(layer.out_shape, layer.in_shape, strict=True)]
    if stated is not None and stated.size:
        for axis, scale in zip(axes, stated.tolist(), strict=True):
            scales[axis] = float(scale)
    elif attrs.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    coordinates = str(attrs.get("coordinate_transformation_mode", "half_pixel"))
    if coordinates == "tf_crop_and_resize" or scales[:2] != [1.0, 1.0]:
        return None
    return Resized(
        layer.name,
        layer.inputs,
        layer.in_shape,
        (layer.out_shape[2], layer.out_shape[3]),
        (scales[2], scales[3]),
        str(attrs["mode"]),
        coordinates,
        float(attrs.get("cubic_coeff_a", -0.75)),
        bool(attrs.get("exclude_outside", 0)),
        bool(attrs.get("antialias", 0)),
    )
