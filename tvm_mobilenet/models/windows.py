"""Largest elements and means of windows: the pools of which a network has several."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tvm_mobilenet.models.layer import Layer, Shape
from tvm_mobilenet.models.operator import Operator

if TYPE_CHECKING:  # what only asks for sizes does without NumPy
    from numpy.typing import NDArray

Pixels = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window(Layer):
    """A pool whose windows all have an element of the map.

    Parameters
    ----------
    kind : {"max", "average"}
        What is taken of a window.
    kernel, strides : tuple of int
        (height, width) in pixels.
    padding : tuple of int
        (top, left, bottom, right) in pixels; what a last window has beyond them is not counted.
    size : tuple of int
        (height, width) of the output.
    inside : bool
        Whether a mean counts the padding.
    """

    rank: ClassVar[int | None] = 4

    kind: Literal["max", "average"]
    kernel: Pixels
    strides: Pixels
    padding: tuple[int, int, int, int]
    size: Pixels
    inside: bool = False

    def __post_init__(self) -> None:
        Layer.__post_init__(self)
        starts = [(n - 1) * s for n, s in zip(self.size, self.strides, strict=True)]
        ends = zip(starts, self.in_shape[2:], self.padding[:2], strict=True)
        before = zip(self.padding[:2], self.kernel, strict=True)
        self._require(
            min(self.padding) >= 0
            and all(pad < taps for pad, taps in before)
            and all(start < size + pad for start, size, pad in ends),
            "has a window without an element of the map",
        )

    @property
    def out_shape(self) -> Shape:
        """NCHW."""
        return (*self.in_shape[:2], *self.size)

    @property
    def macs(self) -> int:
        """One for each tap."""
        return math.prod(self.out_shape) * math.prod(self.kernel)

    def counts(self) -> list[int]:
        """Return how many elements each window's mean is of, row by row."""
        axes = [self._counts(axis) for axis in (0, 1)]
        return [rows * columns for rows in axes[0] for columns in axes[1]]

    def _counts(self, axis: int) -> list[int]:
        size, before, after = self.in_shape[2 + axis], self.padding[axis], self.padding[2 + axis]
        first, last = (-before, size + after) if self.inside else (0, size)
        starts = [i * self.strides[axis] - before for i in range(self.size[axis])]
        return [min(at + self.kernel[axis], last) - max(at, first) for at in starts]

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the pools of an array of the layer's ``in_shape``."""
        import numpy as np

        (top, left), largest = self.padding[:2], self.kind == "max"
        reach = [
            (n - 1) * s + k for n, s, k in zip(self.size, self.strides, self.kernel, strict=True)
        ]
        whole = np.full((*x.shape[:2], *reach), -np.inf if largest else 0.0)
        height, width = min(x.shape[2], reach[0] - top), min(x.shape[3], reach[1] - left)
        whole[:, :, top : top + height, left : left + width] = x[:, :, :height, :width]
        found = np.full(self.out_shape, -np.inf if largest else 0.0)
        for i, j in np.ndindex(*self.kernel):
            rows, columns = (
                slice(at, at + (n - 1) * s + 1, s)
                for at, n, s in zip((i, j), self.size, self.strides, strict=True)
            )
            part = whole[:, :, rows, columns]
            found = np.maximum(found, part) if largest else found + part
        return found if largest else found / np.reshape(self.counts(), self.size)


def window_of(layer: Operator) -> Window | None:
    """Return the pool that an operator is; None if it is none, or one of another form."""
    if layer.operator not in ("AveragePool", "MaxPool") or set(layer.dtypes) != {"float32"}:
        return None
    if len(layer.in_shape) != 4:
        return None
    import onnx
    from onnx import helper

    (node,) = onnx.load_model_from_string(layer.node).graph.node
    attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    pads = attrs.get("pads", [0] * 4)
    auto = attrs.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    if not auto or set(attrs.get("dilations", [1])) != {1} or min(pads) < 0:
        return None
    rows, columns = attrs["kernel_shape"]
    down, right = attrs.get("strides", [1, 1])
    height, width = layer.out_shape[2:]
    kind: Literal["max", "average"] = "max" if layer.operator == "MaxPool" else "average"
    overlaps = pads[0] < rows and pads[1] < columns
    inside = (height - 1) * down < layer.in_shape[2] + pads[0]
    inside &= (width - 1) * right < layer.in_shape[3] + pads[1]
    if not overlaps or not inside:
        return None
    return Window(
        layer.name,
        layer.inputs,
        layer.in_shape,
        kind,
        (rows, columns),
        (down, right),
        (pads[0], pads[1], pads[2], pads[3]),
        (height, width),
        bool(attrs.get("count_include_pad", 0)),
    )
