"""Two maps element by element: sums that no convolution takes, gates, what is added by position."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.elements import Elementwise, elementwise_of
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.operator import Operator
from tvm_mobilenet.models.spec import INPUT, Activate, Add
from tvm_mobilenet.operators.facts import OTHER, Facts
from tvm_mobilenet.operators.over_channels import OverChannels
from tvm_mobilenet.operators.packing import Array, blocked
from tvm_mobilenet.operators.workload import Workload, channel_block


class Elements(Facts):
    """A sum, a product, the larger one …; the second map may be a constant, or a number."""

    __slots__ = ()

    name = "elements"
    activates = True
    takes_plain = False

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
        return _workload(found, target)

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        layer = described(work)
        if work.activation == "none":
            return (layer,)
        end = Activate("b", ("a",), layer.out_shape, work.activation)
        return (layer, end)

    def other_blocks(self, work: Workload) -> tuple[int, ...]:
        layer = described(work)
        if layer.number is not None:
            return ()
        return (work.out_block if layer.other_shape[1] > 1 else 1,)

    def constants(self, work: Workload, layer: Layer, weights: Mapping[str, Any]) -> list[Array]:
        """Return the second map in blocks, where it is a constant."""
        if not layer.parameters:
            return []
        (name,) = layer.parameters
        shape = described(work).other_shape
        return [blocked(weights[name].reshape(shape), self.other_blocks(work)[0])]


def described(work: Workload) -> Elementwise:
    """Return the layer that a workload says, without its activation."""
    told = json.loads(work.detail)
    one, other = map(tuple, told["shapes"])
    number = told.get("number")
    names = (INPUT,) if number is not None else (INPUT, OTHER)
    return Elementwise("a", names, one, told["operator"], other, told["swapped"], number)


def _workload(layer: Elementwise, target: TargetSpec) -> Workload:
    n, channels, *size = layer.out_shape
    block = channel_block(channels, target)
    detail = {"operator": layer.operator, "shapes": layer.in_shapes, "swapped": layer.swapped}
    if layer.number is not None:
        detail |= {"shapes": (layer.in_shape, layer.other_shape), "number": layer.number}
    return Workload(
        Elements.name,
        n,
        layer.in_shape[1],
        channels,
        (layer.in_shape[2], layer.in_shape[3]),
        (size[0], size[1]),
        block if layer.in_shape[1] > 1 else 1,
        block,
        detail=json.dumps(detail, separators=(",", ":")),
    )


class Activation(OverChannels):
    """An activation by itself, of a map that no kernel with one writes."""

    __slots__ = ()

    name = "activation"
    layer = Activate
    loops = "elements"
    takes_plain = False
    keeps_map = True

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        known = isinstance(layer, Activate) and len(layer.in_shape) == 4
        if not known or target.gpu is not None or target.dtype != "float32":
            return None
        assert isinstance(layer, Activate)
        work = self.of_shape(layer.in_shape, target)
        return dataclasses.replace(work, activation=layer.activation)

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        shape = (work.batch, work.in_channels, *work.in_size)
        return (Activate("a", (INPUT,), shape, work.activation),)
