"""Depthwise convolution: a filter for each channel."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.spec import Conv2d
from tvm_mobilenet.operators.conv import Convolution
from tvm_mobilenet.operators.footprint import blocked_in
from tvm_mobilenet.operators.packing import Affine, Array, filters
from tvm_mobilenet.operators.pointwise import is_pointwise
from tvm_mobilenet.operators.workload import Workload


class Depthwise(Convolution):
    """A depthwise convolution; input and output are in the same blocks."""

    __slots__ = ()

    name = "depthwise"
    windowed = True

    def takes(self, layer: Conv2d) -> bool:
        # A lone channel is one group of one: of what computes the same, take what reads blocks.
        plain = is_pointwise(layer.kernel, layer.strides, layer.padding)
        return layer.kind == "depthwise" and (layer.groups > 1 or not plain)

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        return (self._layer(work, groups=work.in_channels),)

    def macs(self, work: Workload) -> int:
        return work.out_elements * math.prod(work.kernel)

    def weight_elements(self, work: Workload) -> int:
        return blocked_in(work) * (math.prod(work.kernel) + 1)

    def pack(self, work: Workload, layers: Sequence[Affine]) -> list[Array]:
        (layer,) = layers
        return filters(work, layer)
