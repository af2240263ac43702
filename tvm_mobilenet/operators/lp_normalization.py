"""Rows of (N, C) over their Euclidean norms: what networks that recognise faces end in."""

from __future__ import annotations

import dataclasses
import json

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models import layers
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.operators.rows import Rows
from tvm_mobilenet.operators.workload import Workload


class LpNormalization(Rows):
    """A row over its norm: a quotient, a square and a product an element."""

    __slots__ = ()

    name = "lp_normalization"
    layer = layers.LpNormalization
    element_work = 4

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        if not isinstance(layer, layers.LpNormalization):
            return None
        work = self.of_shape(layer.in_shape, target)
        detail = json.dumps({"least": layer.least}) if layer.least else ""
        return dataclasses.replace(work, detail=detail)

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        shape = (work.batch, work.in_channels)
        return (layers.LpNormalization("a", (INPUT,), shape, least_of(work)),)


def least_of(work: Workload) -> float:
    """Return the smallest number that rows are divided by."""
    least: float = json.loads(work.detail)["least"] if work.detail else 0.0
    return least
