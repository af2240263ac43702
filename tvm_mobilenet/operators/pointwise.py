"""Pointwise convolution: a matrix product over channels, for every pixel."""

from __future__ import annotations

from collections.abc import Sequence

from tvm_mobilenet.models.spec import Conv2d
from tvm_mobilenet.operators.conv import Convolution
from tvm_mobilenet.operators.footprint import blocked_out
from tvm_mobilenet.operators.packing import Affine, Array, panels
from tvm_mobilenet.operators.workload import Workload


def is_pointwise(kernel: Sequence[int], strides: Sequence[int], padding: Sequence[int]) -> bool:
    """Whether a convolution of one group reads each pixel once, where it writes it."""
    return tuple(kernel) == (1, 1) and tuple(strides) == (1, 1) and not any(padding)


class Pointwise(Convolution):
    """A pointwise convolution, perhaps with a residual connection."""

    __slots__ = ()

    name = "pointwise"
    hosts_prefetches = True
    adds_residual = True

    def takes(self, layer: Conv2d) -> bool:
        return layer.groups == 1 and is_pointwise(layer.kernel, layer.strides, layer.padding)

    def weight_elements(self, work: Workload) -> int:
        return blocked_out(work) * (work.depth + 1)

    def prefetched_shape(self, work: Workload) -> tuple[int, ...]:
        return (work.out_blocks, work.depth, work.out_block)

    def pack(self, work: Workload, layers: Sequence[Affine]) -> list[Array]:
        (layer,) = layers
        return panels(work, layer, work.out_block, work.depth)
