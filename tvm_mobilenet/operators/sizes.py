"""From a layer to its workload: which operator, and channels in which blocks."""

from __future__ import annotations

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import Workload


def workload_of_layer(layer: Layer, target: TargetSpec) -> Workload | None:
    """Return the kernel of a layer by itself; None for one that has none of ours."""
    found = (facts.of_layer(layer, target) for facts in OPERATORS.values())
    return next((work for work in found if work is not None), None)
