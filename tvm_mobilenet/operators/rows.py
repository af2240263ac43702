"""What operators have in common that go over the rows of (N, C), each by itself."""

from __future__ import annotations

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.layer import Layer, Shape
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.operators.over_channels import OverChannels
from tvm_mobilenet.operators.workload import Workload, channel_block

ROW_THREADS = 128
"""Threads of a GPU that share a row: 8 elements each of 1000."""


def row_block(classes: int, target: TargetSpec) -> int:
    """Return the elements in a block of a row: a vector; on a GPU a block's threads."""
    if target.gpu is None:
        return channel_block(classes, target)
    threads = min(target.gpu.block_threads, ROW_THREADS)
    return min(threads, 1 << (classes - 1).bit_length())


class Rows(OverChannels):
    """An operator from plain (N, C) to the same, one row after the other."""

    __slots__ = ()

    loops = "rows"
    reads_plain = True
    writes_plain = True

    def of_shape(self, in_shape: Shape, target: TargetSpec) -> Workload:
        n, classes = in_shape
        block = row_block(classes, target)
        return Workload(self.name, n, classes, classes, (1, 1), (1, 1), block, block)

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        return (self.layer("a", (INPUT,), (work.batch, work.in_channels)),)
