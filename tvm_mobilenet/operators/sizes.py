"""From a layer to its workload: which operator, and channels in which blocks."""

from __future__ import annotations

from collections.abc import Collection

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import Workload


def workload_of_layer(
    layer: Layer, target: TargetSpec, operators: Collection[str] | None = None
) -> Workload | None:
    """Return the kernel of a layer by itself; None for one that has none of ours.

    Parameters
    ----------
    operators : collection of str, optional
        For which there are kernels, where those are not all.
    """
    able = OPERATORS if operators is None else [name for name in OPERATORS if name in operators]
    found = (OPERATORS[name].of_layer(layer, target) for name in able)
    return next((work for work in found if work is not None), None)
