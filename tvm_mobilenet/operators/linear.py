"""Dense layer of many rows: the products of tokens with weights, row after row."""

from __future__ import annotations

from collections.abc import Sequence

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.spec import INPUT, Dense
from tvm_mobilenet.operators.facts import Facts
from tvm_mobilenet.operators.packing import Affine, Array
from tvm_mobilenet.operators.workload import Workload

FEWEST_ROWS = 12
"""Rows from which on a register tile of rows pays; batches of images are smaller."""


class Linear(Facts):
    """A dense layer on a plain matrix; weights lie in columns of a vector's width.

    The last columns end with the matrix: they overlap those before them, are computed twice
    and need no mask.
    """

    __slots__ = ()

    name = "linear"
    reads_plain = True
    writes_plain = True
    activates = True
    adds_residual = True

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        many = isinstance(layer, Dense) and layer.in_shape[0] >= FEWEST_ROWS
        if not many or target.gpu is not None or target.dtype != "float32":
            return None
        assert isinstance(layer, Dense)
        n, channels = layer.in_shape
        return Workload(
            self.name,
            n,
            channels,
            layer.out_features,
            (1, 1),
            (1, 1),
            1,
            vector_within(layer.out_features, target),
            activation=layer.activation,
        )

    def other_blocks(self, work: Workload) -> tuple[int, ...]:
        return (0,)

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        shape = (work.batch, work.in_channels)
        return (Dense("a", (INPUT,), shape, work.out_channels, True, work.activation),)

    def macs(self, work: Workload) -> int:
        return work.out_elements * work.in_channels

    def weight_elements(self, work: Workload) -> int:
        return work.out_blocks * work.out_block * (work.in_channels + 1)

    def pack(self, work: Workload, layers: Sequence[Affine]) -> list[Array]:
        import numpy as np

        (layer,) = layers
        width, count = work.out_block, work.out_channels
        firsts = [min(at, count - width) for at in range(0, count, width)]
        weight = np.stack([layer.weight[at : at + width].T for at in firsts])
        bias = np.stack([layer.bias[at : at + width] for at in firsts])
        return [np.ascontiguousarray(weight), np.ascontiguousarray(bias)]


def vector_within(size: int, target: TargetSpec) -> int:
    """Return the widest vector of the target that is no longer than an axis."""
    width: int = target.lanes
    while width > size:
        width //= 2
    return width
