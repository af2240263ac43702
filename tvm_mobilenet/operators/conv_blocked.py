"""Convolution of any kernel and groups on a map in blocks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.spec import Conv2d
from tvm_mobilenet.operators.conv import Convolution, reads_image
from tvm_mobilenet.operators.footprint import blocked_out
from tvm_mobilenet.operators.packing import Affine, Array, filled, panels
from tvm_mobilenet.operators.workload import Workload


class ConvBlocked(Convolution):
    """A convolution that is neither depthwise nor pointwise, dilated or in groups perhaps."""

    __slots__ = ()

    name = "conv_blocked"
    windowed = True
    adds_residual = True

    def takes(self, layer: Conv2d) -> bool:
        return layer.kind == "full" and not reads_image(layer)

    def groups_of(self, layer: Conv2d) -> int:
        return layer.groups

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        return (self._layer(work, groups=work.groups),)

    def macs(self, work: Workload) -> int:
        return work.out_elements * math.prod(work.kernel) * (work.in_channels // work.groups)

    def weight_elements(self, work: Workload) -> int:
        return blocked_out(work) * (work.depth * math.prod(work.kernel) + 1)

    def pack(self, work: Workload, layers: Sequence[Affine]) -> list[Array]:
        (layer,) = layers
        return panels(work, by_taps(layer, work.depth), work.out_block)


def by_taps(layer: Affine, depth: int) -> Affine:
    """Return a layer whose weight is (O, KH, KW, depth): taps outside, channels inside."""
    taps = layer.weight.transpose(0, 2, 3, 1)
    return dataclasses.replace(layer, weight=filled(taps, (*taps.shape[:3], depth)))
