"""Dense layer: from a vector in blocks to a plain one, or to one in blocks again."""

from __future__ import annotations

from collections.abc import Sequence

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.models.spec import Dense as DenseLayer
from tvm_mobilenet.operators.facts import Facts
from tvm_mobilenet.operators.footprint import blocked_out
from tvm_mobilenet.operators.packing import Affine, Array, panels
from tvm_mobilenet.operators.workload import Workload, channel_block, class_block


class Dense(Facts):
    """A dense layer whose output is plain; what else reads blocks has it as a pointwise layer."""

    __slots__ = ()

    name = "dense"
    writes_plain = True
    activates = True

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        if not isinstance(layer, DenseLayer):
            return None
        return _dense(self.name, layer, class_block(layer.out_features, target), target)

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        shape = (work.batch, work.in_channels)
        return (DenseLayer("a", (INPUT,), shape, work.out_channels, True, work.activation),)

    def macs(self, work: Workload) -> int:
        return work.out_elements * work.in_channels

    def weight_elements(self, work: Workload) -> int:
        return blocked_out(work) * (work.depth + 1)

    def prefetched_shape(self, work: Workload) -> tuple[int, ...]:
        return (work.out_blocks, work.depth, work.out_block)

    def pack(self, work: Workload, layers: Sequence[Affine]) -> list[Array]:
        (layer,) = layers
        return panels(work, layer, work.out_block, work.depth)


def dense_in_blocks(layer: DenseLayer, target: TargetSpec) -> Workload:
    """Return the workload of a dense layer whose output stays in blocks: a pointwise layer's."""
    return _dense("pointwise", layer, channel_block(layer.out_features, target), target)


def _dense(operator: str, layer: DenseLayer, block: int, target: TargetSpec) -> Workload:
    n, channels = layer.in_shape
    return Workload(
        operator,
        n,
        channels,
        layer.out_features,
        (1, 1),
        (1, 1),
        channel_block(channels, target),
        block,
        activation=layer.activation,
        dtype=target.dtype,
        half_products=target.half_products,
    )
