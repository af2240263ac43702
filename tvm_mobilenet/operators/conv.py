"""Full convolution from plain NCHW into blocks, and what all convolutions have in common."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Sequence

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.axes import CHANNELS_FIRST, Turned, turned_of
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.operator import Operator
from tvm_mobilenet.models.spec import INPUT, Conv2d
from tvm_mobilenet.operators.facts import Facts
from tvm_mobilenet.operators.footprint import blocked_out
from tvm_mobilenet.operators.packing import Affine, Array, panels
from tvm_mobilenet.operators.workload import Workload, channel_block

IMAGE_CHANNELS = 7
"""Input channels up to which a map is rather read as it is: an image, whose few channels would
leave most of a block empty."""


def reads_image(layer: Layer) -> bool:
    """Whether a layer is a full convolution of an image."""
    if not isinstance(layer, Conv2d) or layer.kind != "full":
        return False
    usual = layer.groups == 1 and layer.dilations == (1, 1)
    return usual and layer.in_shape[1] <= IMAGE_CHANNELS


class Convolution(Facts):
    """A convolution: the three of them share :class:`~tvm_mobilenet.models.layers.Conv2d`."""

    __slots__ = ()

    activates = True
    takes_slopes = True

    @abstractmethod
    def takes(self, layer: Conv2d) -> bool:
        """Whether this operator is the kernel of a convolution."""

    def in_block(self, channels: int, target: TargetSpec) -> int:
        """Return the channels in a block of its input."""
        return channel_block(channels, target)

    def groups_of(self, layer: Conv2d) -> int:
        """Return the groups that a workload says: of what is depthwise, its operator does."""
        return 1

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        if not isinstance(layer, Conv2d) or not self.takes(layer):
            return None
        n, channels, *in_size = layer.in_shape
        _, out_channels, *out_size = layer.out_shape
        return Workload(
            self.name,
            n,
            channels,
            out_channels,
            (in_size[0], in_size[1]),
            (out_size[0], out_size[1]),
            self.in_block(channels, target),
            channel_block(out_channels, target),
            layer.kernel,
            layer.strides,
            layer.padding,
            layer.activation,
            dtype=target.dtype,
            half_products=target.half_products,
            dilations=layer.dilations,
            groups=self.groups_of(layer),
        )

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        return (self._layer(work, groups=1),)

    def _layer(self, work: Workload, groups: int) -> Conv2d:
        shape = (work.batch, work.in_channels, *work.in_size)
        return Conv2d(
            "a", (INPUT,), shape, work.out_channels, work.kernel, work.strides, work.padding,
            groups, True, None, work.activation, work.dilations,
        )  # fmt: skip

    def macs(self, work: Workload) -> int:
        return work.out_elements * math.prod(work.kernel) * work.in_channels


class Conv(Convolution):
    """A full convolution, a network's first: its input is plain, a few channels."""

    __slots__ = ()

    name = "conv"
    windowed = True
    reads_plain = True

    def takes(self, layer: Conv2d) -> bool:
        return layer.kind == "full" and layer.groups == 1 and layer.dilations == (1, 1)

    def in_block(self, channels: int, target: TargetSpec) -> int:
        return 1

    def weight_elements(self, work: Workload) -> int:
        return blocked_out(work) * (work.in_channels * math.prod(work.kernel) + 1)

    def pack(self, work: Workload, layers: Sequence[Affine]) -> list[Array]:
        (layer,) = layers
        return panels(work, layer, work.out_block)


class ConvNhwc(Conv):
    """The same from an image whose channels lie last, which a ``Transpose`` would bring in front.

    What computes it is the other's, but for where an element of the image lies.
    """

    __slots__ = ()

    name = "conv_nhwc"
    channels_last = True

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        return None

    def chain(self, layer: Layer) -> int:
        turned = turned_of(layer) if isinstance(layer, Operator) else layer
        return 2 if isinstance(turned, Turned) and turned.order == CHANNELS_FIRST else 0

    def of_chain(self, layers: Sequence[Layer], target: TargetSpec) -> Workload | None:
        if target.dtype != "float32" or len(layers) != 2 or not reads_image(layers[1]):
            return None
        return Conv.of_layer(self, layers[1], target)

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        (conv,) = Conv.layers(self, work)
        n, channels, height, width = conv.in_shape
        turned = Turned("image", (INPUT,), (n, height, width, channels), CHANNELS_FIRST)
        return (turned, dataclasses.replace(conv, inputs=("image",)))
