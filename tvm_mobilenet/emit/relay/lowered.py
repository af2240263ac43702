"""A network as Relay will build it: calls of our operators, their weights beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.network.plan import NetworkPlan
from tvm_mobilenet.operators.workload import Workload


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel of ours in the network.

    Attributes
    ----------
    layers : tuple of str
        Layers that it computes, where the function's maker named them.
    shape : tuple of int
        Shape of its value, NCHW or NC.
    """

    work: Workload
    layers: tuple[str, ...]
    expr: Any
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Lowered:
    """A network ready for Relay's build.

    Attributes
    ----------
    plan : NetworkPlan
        What it was made of.
    mod : IRModule
        ``main(x, weights…)``.
    parameters : dict of str to ndarray
        Packed weights by the names of main's parameters, float32.
    calls : list of Call
        In the order of execution.
    """

    plan: NetworkPlan
    mod: Any
    parameters: dict[str, NDArray[np.float32]]
    calls: list[Call]
