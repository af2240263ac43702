"""Depthwise-separable block: a depthwise and a pointwise layer as one kernel."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.spec import INPUT, Conv2d
from tvm_mobilenet.operators.facts import Shared
from tvm_mobilenet.operators.footprint import blocked_in, blocked_out
from tvm_mobilenet.operators.packing import Affine, Array, filters, panels
from tvm_mobilenet.operators.workload import Workload


class Separable(Shared):
    """A separable block; what passes between its layers is stored as maps are."""

    __slots__ = ()

    name = "separable"
    patterns = (("depthwise", "pointwise"), ("depthwise", "residual"))
    windowed = True
    hosts_prefetches = True

    def join(self, parts: Sequence[Workload]) -> Workload:
        first, last = parts
        return dataclasses.replace(
            first,
            operator=self.name,
            out_channels=last.out_channels,
            out_block=last.out_block,
            mid_activation=first.activation,
            activation=last.activation,
            residual=last.residual,
            rows=last.rows,
        )

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        n, k = work.batch, work.in_channels
        mid = Conv2d(
            "a", (INPUT,), (n, k, *work.in_size), k, work.kernel, work.strides, work.padding, k,
            True, None, work.mid_activation, work.dilations,
        )  # fmt: skip
        last = Conv2d(
            "b", ("a",), (n, k, *work.out_size), work.out_channels, (1, 1), bias=True,
            activation=work.activation,
        )  # fmt: skip
        return mid, last

    def macs(self, work: Workload) -> int:
        filtered = work.batch * work.in_channels * work.out_pixels
        return filtered * (math.prod(work.kernel) + work.out_channels)

    def weight_elements(self, work: Workload) -> int:
        inside = blocked_in(work) * (math.prod(work.kernel) + 1)
        return inside + blocked_out(work) * (work.depth + 1)

    def pack(self, work: Workload, layers: Sequence[Affine]) -> list[Array]:
        first, last = layers
        return [*filters(work, first), *panels(work, last, work.out_block, work.depth)]
