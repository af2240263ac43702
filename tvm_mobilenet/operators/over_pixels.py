"""What is made of all pixels of a channel: the largest, and instance normalisation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.operator import Operator
from tvm_mobilenet.models.over_pixels import GlobalMax, InstanceNorm, over_pixels_of
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.operators.footprint import blocked_in
from tvm_mobilenet.operators.over_channels import OverChannels
from tvm_mobilenet.operators.packing import Affine, Array, pack_bias
from tvm_mobilenet.operators.workload import Workload


class Largest(OverChannels):
    """The largest element of each channel."""

    __slots__ = ()

    name = "global_max"
    layer: type[Layer] = GlobalMax
    loops = "over_pixels"

    def of_layer(self, layer: Layer, target: TargetSpec) -> Workload | None:
        if target.gpu is not None or target.dtype != "float32":
            return None
        found = over_pixels_of(layer) if isinstance(layer, Operator) else layer
        return None if type(found) is not self.layer else self._of(found, target)

    def _of(self, layer: Layer, target: TargetSpec) -> Workload:
        return self.of_shape(layer.in_shape, target)

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        return (GlobalMax("a", (INPUT,), (work.batch, work.in_channels, *work.in_size)),)

    def macs(self, work: Workload) -> int:
        """Return one for each element that it reads."""
        return work.batch * work.in_channels * work.in_pixels


class InstanceNormalization(Largest):
    """A map with the mean and the variance of each channel taken out."""

    __slots__ = ()

    name = "instance_norm"
    layer = InstanceNorm
    keeps_map = True

    def _of(self, layer: Layer, target: TargetSpec) -> Workload:
        assert isinstance(layer, InstanceNorm)
        detail = json.dumps({"epsilon": layer.epsilon}, separators=(",", ":"))
        return dataclasses.replace(self.of_shape(layer.in_shape, target), detail=detail)

    def layers(self, work: Workload) -> tuple[Layer, ...]:
        shape = (work.batch, work.in_channels, *work.in_size)
        return (InstanceNorm("a", (INPUT,), shape, json.loads(work.detail)["epsilon"]),)

    def weight_elements(self, work: Workload) -> int:
        return 2 * blocked_in(work)

    def pack(self, work: Workload, layers: Sequence[Affine]) -> list[Array]:
        (layer,) = layers
        return [pack_bias(part, work.in_block) for part in (layer.weight, layer.bias)]

    def constants(self, work: Workload, layer: Layer, weights: Mapping[str, Array]) -> list[Array]:
        scale, shift = (weights[name] for name in layer.parameters)
        return self.pack(work, [Affine(scale, shift)])
