"""A map times one factor a channel, perhaps with an activation: the end of squeeze-and-excite."""

from __future__ import annotations

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.spec import INPUT, Activate
from tvm_mobilenet.models.spec import Scale as ScaleLayer
from tvm_mobilenet.operators.facts import OTHER
from tvm_mobilenet.operators.over_channels import OverChannels
from tvm_mobilenet.operators.workload import Workload


class Scale(OverChannels):
    """A map times factors."""

    __slots__ = ()

    name = "scale"
    layer = ScaleLayer
    keeps_map = True
    activates = True

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        # One pixel times itself has one input, where the kernel takes two.
        twice = len(set(layer.inputs)) < len(layer.inputs)
        return None if twice else OverChannels.of_layer(self, layer, target)

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        shape = (work.batch, work.in_channels, *work.in_size)
        scaled = ScaleLayer("a", (INPUT, OTHER), shape)
        if work.activation == "none":
            return (scaled,)
        return scaled, Activate("b", ("a",), shape, work.activation)
