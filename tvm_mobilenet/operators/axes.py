"""Maps in blocks whose channels lie last behind it, or lay last before: TensorFlow's order."""

from __future__ import annotations

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.axes import CHANNELS_FIRST, CHANNELS_LAST, Turned, turned_of
from tvm_mobilenet.models.layer import Layer, Shape
from tvm_mobilenet.models.operator import Operator
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.operators.conv import IMAGE_CHANNELS
from tvm_mobilenet.operators.facts import Facts
from tvm_mobilenet.operators.workload import Workload, channel_block


class ToNhwc(Facts):
    """From blocks to a plain map whose channels lie last."""

    __slots__ = ()

    name = "to_nhwc"
    loops = "axes"
    writes_plain = True
    takes_plain = False
    order: tuple[int, ...] = CHANNELS_LAST

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        if target.gpu is not None or target.dtype != "float32":
            return None
        turned = turned_of(layer) if isinstance(layer, Operator) else layer
        if not isinstance(turned, Turned) or turned.order != self.order:
            return None
        return self._workload(turned, target)

    def _nchw(self, layer: Turned) -> Shape:
        return layer.in_shape

    def _workload(self, layer: Turned, target: TargetSpec) -> Workload | None:
        n, channels, height, width = self._nchw(layer)
        block, size = channel_block(channels, target), (height, width)
        return Workload(self.name, n, channels, channels, size, size, block, block)

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        n, (height, width) = work.batch, work.in_size
        shape = (n, work.in_channels, height, width)
        if self.order == CHANNELS_FIRST:
            shape = (n, height, width, work.in_channels)
        return (Turned("a", (INPUT,), shape, self.order),)


class FromNhwc(ToNhwc):
    """From a plain map whose channels lie last to blocks; an image's few lie in none."""

    __slots__ = ()

    name = "from_nhwc"
    reads_plain = True
    channels_last = True
    writes_plain = False
    takes_plain = True
    order = CHANNELS_FIRST

    def _nchw(self, layer: Turned) -> Shape:
        return layer.out_shape

    def _workload(self, layer: Turned, target: TargetSpec) -> Workload | None:
        image = layer.out_shape[1] <= IMAGE_CHANNELS
        return None if image else ToNhwc._workload(self, layer, target)
