"""What operators have in common that mix no channels, or have no weights."""

from __future__ import annotations

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.layer import Layer, Shape
from tvm_mobilenet.operators.facts import Facts
from tvm_mobilenet.operators.workload import Workload, channel_block


class OverChannels(Facts):
    """An operator without weights, whose output has the channels of its input.

    Attributes
    ----------
    layer : type of Layer
        That it computes.
    keeps_map : bool
        Whether its output has the pixels of its input, else one.
    """

    __slots__ = ()

    layer: type[Layer]
    keeps_map = False

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        return self.of_shape(layer.in_shape, target) if type(layer) is self.layer else None

    def of_shape(self, in_shape: Shape, target: TargetSpec) -> Workload:
        """Return the workload for an input of NCHW or NC."""
        n, channels, *rest = in_shape
        height, width = rest or (1, 1)
        size, block = (height, width), channel_block(channels, target)
        out_size = size if self.keeps_map else (1, 1)
        return Workload(
            self.name, n, channels, channels, size, out_size, block, block,
            dtype=target.dtype, half_products=target.half_products,
        )  # fmt: skip
