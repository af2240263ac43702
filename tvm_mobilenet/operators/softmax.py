"""Softmax over the classes of (N, C)."""

from __future__ import annotations

from tvm_mobilenet.models.spec import Softmax as SoftmaxLayer
from tvm_mobilenet.operators.rows import Rows


class Softmax(Rows):
    """A softmax: an exponential an element."""

    __slots__ = ()

    name = "softmax"
    layer = SoftmaxLayer
    element_work = 16
