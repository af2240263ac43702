"""Two maps element by element: sums that no convolution takes, gates, what is added by position."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.elements import Elementwise, elementwise_of
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.operator import Operator
from tvm_mobilenet.models.spec import INPUT, Add
from tvm_mobilenet.operators.facts import OTHER, Facts
from tvm_mobilenet.operators.packing import Array, blocked
from tvm_mobilenet.operators.workload import Workload, channel_block


class Elements(Facts):
    """A sum, a difference or a product; the second map may be a constant."""

    __slots__ = ()

    name = "elements"

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        if target.dtype != "float32":
            return None
        if isinstance(layer, Operator):
            found = elementwise_of(layer)
        elif isinstance(layer, Add) and len(layer.in_shape) == 4:
            found = Elementwise(layer.name, layer.inputs, layer.in_shape, "Add", layer.in_shape)
        else:
            found = layer if isinstance(layer, Elementwise) else None
        if found is None or len(set(layer.inputs)) < len(layer.inputs):
            return None
        n, channels, *size = found.out_shape
        block = channel_block(channels, target)
        detail = {
            "operator": found.operator,
            "shapes": found.in_shapes,
            "swapped": found.swapped,
        }
        return Workload(
            self.name,
            n,
            found.in_shape[1],
            channels,
            (found.in_shape[2], found.in_shape[3]),
            (size[0], size[1]),
            block if found.in_shape[1] > 1 else 1,
            block,
            detail=json.dumps(detail, separators=(",", ":")),
        )

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        told = json.loads(work.detail)
        one, other = map(tuple, told["shapes"])
        names = (INPUT, OTHER)
        return (Elementwise("a", names, one, told["operator"], other, told["swapped"]),)

    def other_blocks(self, work: Workload) -> tuple[int, ...]:
        other = json.loads(work.detail)["shapes"][1]
        return (work.out_block if other[1] > 1 else 1,)

    def constants(self, work: Workload, layer: Layer, weights: Mapping[str, Any]) -> list[Array]:
        """Return the second map in blocks, where it is a constant."""
        if not layer.parameters:
            return []
        (name,) = layer.parameters
        shape = json.loads(work.detail)["shapes"][1]
        return [blocked(weights[name].reshape(shape), self.other_blocks(work)[0])]
