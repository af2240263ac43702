"""Rows less their means over their deviations: what stands before the products of tokens."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models import layer_norm
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.operators.packing import Affine, Array, pack_bias
from tvm_mobilenet.operators.rows import Rows
from tvm_mobilenet.operators.workload import Workload


class LayerNorm(Rows):
    """A row in two passes: its mean, and the squares of what is left."""

    __slots__ = ()

    name = "layer_norm"
    layer = layer_norm.LayerNorm
    element_work = 6

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        if not isinstance(layer, layer_norm.LayerNorm):
            return None
        detail = json.dumps({"epsilon": layer.epsilon})
        return dataclasses.replace(self.of_shape(layer.in_shape, target), detail=detail)

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        shape = (work.batch, work.in_channels)
        return (layer_norm.LayerNorm("a", (INPUT,), shape, epsilon_of(work)),)

    def weight_elements(self, work: Workload) -> int:
        return 2 * work.out_blocks * work.out_block

    def pack(self, work: Workload, layers: Sequence[Affine]) -> list[Array]:
        (layer,) = layers
        return [pack_bias(part, work.out_block) for part in (layer.weight, layer.bias)]


def epsilon_of(work: Workload) -> float:
    """Return what is added to the variance."""
    epsilon: float = json.loads(work.detail)["epsilon"]
    return epsilon
