"""Rows of (N, C) over their Euclidean norms: what networks that recognise faces end in."""

from __future__ import annotations

from tvm_mobilenet.models import layers
from tvm_mobilenet.operators.rows import Rows


class LpNormalization(Rows):
    """A row over its norm: a quotient, a square and a product an element."""

    __slots__ = ()

    name = "lp_normalization"
    layer = layers.LpNormalization
    element_work = 4
