"""Global average pool: the mean over a map."""

from __future__ import annotations

from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.spec import INPUT, GlobalAvgPool
from tvm_mobilenet.operators.over_channels import OverChannels
from tvm_mobilenet.operators.workload import Workload


class Pool(OverChannels):
    """A global average pool."""

    __slots__ = ()

    name = "pool"
    layer = GlobalAvgPool

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        return (GlobalAvgPool("a", (INPUT,), (work.batch, work.in_channels, *work.in_size)),)

    def macs(self, work: Workload) -> int:
        """Return one for each element that it reads."""
        return work.batch * work.in_channels * work.in_pixels
