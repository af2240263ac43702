"""Softmax over the classes of (N, C), and over many rows of scores."""

from __future__ import annotations

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.spec import Softmax as SoftmaxLayer
from tvm_mobilenet.operators.linear import FEWEST_ROWS, vector_within
from tvm_mobilenet.operators.rows import Rows
from tvm_mobilenet.operators.workload import Workload


class Softmax(Rows):
    """A softmax: an exponential an element."""

    __slots__ = ()

    name = "softmax"
    layer = SoftmaxLayer
    element_work = 16


class SoftmaxRows(Softmax):
    """The same of so many rows that what each costs besides its elements counts."""

    __slots__ = ()

    name = "softmax_rows"
    loops = "softmax_rows"

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        many = isinstance(layer, SoftmaxLayer) and layer.in_shape[0] >= FEWEST_ROWS
        if not many or target.gpu is not None or target.dtype != "float32":
            return None
        n, classes = layer.in_shape
        block = vector_within(classes, target)
        return Workload(self.name, n, classes, classes, (1, 1), (1, 1), block, block)
