"""Pools over windows: the largest element, or the mean; channels stay where they are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.operator import Operator
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.models.windows import Window, window_of
from tvm_mobilenet.operators.facts import Facts
from tvm_mobilenet.operators.packing import Affine, Array
from tvm_mobilenet.operators.workload import Workload, channel_block

INSIDE = "inside"
"""Detail of a workload whose means count the padding."""


class MaxPool(Facts):
    """The largest element of every window."""

    __slots__ = ()

    name = "max_pool"
    windowed = True
    kind = "max"

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        if target.dtype != "float32":
            return None
        window = window_of(layer) if isinstance(layer, Operator) else layer
        if not isinstance(window, Window) or window.kind != self.kind:
            return None
        n, channels, height, width = window.in_shape
        block = channel_block(channels, target)
        return Workload(
            self.name,
            n,
            channels,
            channels,
            (height, width),
            window.size,
            block,
            block,
            window.kernel,
            window.strides,
            window.padding,
            detail=INSIDE if window.inside and window.kind == "average" else "",
        )

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        return (_window(work, self.kind),)

    def macs(self, work: Workload) -> int:
        """Return one for each tap."""
        return work.out_elements * math.prod(work.kernel)


class AveragePool(MaxPool):
    """The mean of every window: the loops of a depthwise layer without weights.

    Its one parameter is the part that an element of each counts.
    """

    __slots__ = ()

    name = "average_pool"
    loops = "depthwise"
    kind = "average"

    def pack(self, work: Workload, layers: Sequence[Affine]) -> list[Array]:
        import numpy as np

        counts = np.array(_window(work, self.kind).counts(), np.float64)
        return [(1 / counts).astype(np.float32)]


def _window(work: Workload, kind: str) -> Window:
    shape = (work.batch, work.in_channels, *work.in_size)
    made = Window(
        "a", (INPUT,), shape, "max", work.kernel, work.strides, work.padding, work.out_size
    )
    if kind == "max":
        return made
    return dataclasses.replace(made, kind="average", inside=work.detail == INSIDE)
