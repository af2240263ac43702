"""Products of tensors with each other: scores of attention, and what they weigh."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.operator import Operator
from tvm_mobilenet.models.products import Product as ProductLayer
from tvm_mobilenet.models.products import product_of
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.models.views import View
from tvm_mobilenet.operators.facts import OTHER, Facts
from tvm_mobilenet.operators.linear import vector_within
from tvm_mobilenet.operators.packing import Array
from tvm_mobilenet.operators.workload import Workload


class Product(Facts):
    """A stack of products of matrices; rows are its channels, columns its pixels."""

    __slots__ = ()

    name = "product"
    reads_plain = True
    writes_plain = True
    reads_views = True

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        if target.gpu is not None or target.dtype != "float32":
            return None
        found = product_of(layer) if isinstance(layer, Operator) else layer
        if not isinstance(found, ProductLayer) or len(set(found.inputs)) < len(found.inputs):
            return None
        *stack, rows, columns = found.out_shape
        detail = {
            "one": dataclasses.asdict(found.one),
            "other": dataclasses.asdict(found.other),
            "swapped": found.swapped,
            "lanes": vector_within(columns, target),
        }
        return Workload(
            self.name,
            math.prod(stack),
            rows,
            rows,
            (1, found.one.shape[-1]),
            (1, columns),
            1,
            1,
            detail=json.dumps(detail, separators=(",", ":")),
        )

    def of_views(self, work: Workload, views: Sequence[View], target: TargetSpec) -> Workload:
        layer = self.product(work)
        one, *other = reversed(views) if layer.swapped else views
        layer = dataclasses.replace(layer, one=one, other=other[0] if other else layer.other)
        if layer.swapped and not other:
            layer = dataclasses.replace(layer, one=self.product(work).one, other=one)
        made = self.of_layer(dataclasses.replace(layer, in_shape=layer.in_shapes[0]), target)
        assert made is not None
        return made

    def product(self, work: Workload) -> ProductLayer:
        """Return the layer that a workload computes."""
        told = json.loads(work.detail)
        one, other = (View.told(told[name]) for name in ("one", "other"))
        shapes = (other.source, one.source) if told["swapped"] else (one.source, other.source)
        return ProductLayer("a", (INPUT, OTHER), shapes[0], one, other, told["swapped"])

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        return (self.product(work),)

    def other_blocks(self, work: Workload) -> tuple[int, ...]:
        return (0,)

    def macs(self, work: Workload) -> int:
        return work.out_elements * work.in_size[1]

    def constants(self, work: Workload, layer: Layer, weights: Mapping[str, Array]) -> list[Array]:
        """Return the operand that is a constant."""
        return [weights[name] for name in layer.parameters]
