"""The kernels that a model's layers would become, before any are joined: no TVM in here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tvm_mobilenet.models.spec import (
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Model,
    Scale,
    Softmax,
)
from tvm_mobilenet.operators.workload import Operator, Workload, channel_block, class_block
from tvm_mobilenet.target import TargetSpec

_PATTERNS: tuple[tuple[Operator, tuple[str, ...]], ...] = (
    ("tail", ("pointwise", "pool", "dense")),
    ("separable", ("depthwise", "pointwise")),
    ("separable", ("depthwise", "residual")),
)
"""As in ``fuse_blocks``: what a kernel can hold, the first that fits."""


def workload(layer: Layer, target: TargetSpec) -> Workload | None:
    """Return the kernel of a layer by itself; None for one that has none of ours."""
    work = _float32(layer, target)
    if work is None or work.operator == "softmax":
        return work
    return dataclasses.replace(work, dtype=target.dtype)


def _float32(layer: Layer, target: TargetSpec) -> Workload | None:
    n, channels = layer.in_shape[:2]
    block = channel_block(channels, target)
    if isinstance(layer, Conv2d):
        (h, w), (_, out, oh, ow) = layer.in_shape[2:], layer.out_shape
        operator: Operator = "conv" if layer.kind == "full" else layer.kind
        return Workload(
            operator,
            n,
            channels,
            out,
            (h, w),
            (oh, ow),
            1 if operator == "conv" else block,
            channel_block(out, target),
            layer.kernel,
            layer.strides,
            layer.padding,
            layer.activation,
        )
    if isinstance(layer, Scale):
        size = (layer.in_shape[2], layer.in_shape[3])
        return Workload("scale", n, channels, channels, size, size, block, block)
    if isinstance(layer, GlobalAvgPool):
        h, w = layer.in_shape[2:]
        return Workload("pool", n, channels, channels, (h, w), (1, 1), block, block)
    if isinstance(layer, Dense):
        wide = class_block(layer.out_features, target)
        return Workload(
            "dense",
            n,
            channels,
            layer.out_features,
            (1, 1),
            (1, 1),
            block,
            wide,
            activation=layer.activation,
        )
    if isinstance(layer, Softmax):
        return Workload("softmax", n, channels, channels, (1, 1), (1, 1), block, block)
    return None


@dataclass(frozen=True, slots=True)
class Unit:
    """Layers that always share a kernel: one, or a pointwise layer and what adds to it."""

    layers: tuple[Layer, ...]
    work: Workload

    @property
    def names(self) -> tuple[str, ...]:
        """Of its layers."""
        return tuple(layer.name for layer in self.layers)

    @property
    def kind(self) -> str:
        """The operator, as patterns name it."""
        return "residual" if self.work.residual else self.work.operator


def units_of(model: Model, target: TargetSpec) -> list[Unit]:
    """List the layers that the model knows, as ``fuse_epilogue`` groups them."""
    reads = _reads(model)
    units: list[Unit] = []
    for layer in model.layers:
        work = workload(layer, target)
        if isinstance(layer, Dense) and work is not None and _is_hidden(model, layer):
            block = channel_block(layer.out_features, target)
            work = dataclasses.replace(work, operator="pointwise", out_block=block)
        if work is not None:
            units.append(Unit((layer,), work))
        elif isinstance(layer, Add) and units:
            before = units[-1]
            joins = (
                before.work.operator == "pointwise"
                and before.work.activation == "none"
                and before.names[-1] in layer.inputs
                and reads.count(before.names[-1]) == 1
            )
            if joins:
                added = dataclasses.replace(before.work, residual=True)
                units[-1] = Unit((*before.layers, layer), added)
    return units


def _is_hidden(model: Model, layer: Dense) -> bool:
    """Whether other dense layers read this one, which keeps its output in blocks for them."""
    readers = [other for other in model.layers if layer.name in other.inputs]
    return bool(readers) and all(isinstance(reader, Dense) for reader in readers)


def _reads(model: Model) -> list[str]:
    return [name for layer in model.layers for name in layer.inputs]


def candidates(
    model: Model, units: Sequence[Unit], target: TargetSpec
) -> list[tuple[Operator, int, int]]:
    """List what could be joined, tails first: operator, first kernel, kernels."""
    reads = _reads(model)
    kinds = tuple(unit.kind for unit in units)
    found = []
    for operator, pattern in _PATTERNS:
        if operator == "tail" and target.gpu is not None:
            continue  # its pool waits for every block of the map
        for at in range(len(units) - len(pattern) + 1):
            group = units[at : at + len(pattern)]
            chained = all(
                after.layers[0].inputs == (before.names[-1],) and reads.count(before.names[-1]) == 1
                for before, after in pairwise(group)
            )
            plain = operator != "tail" or group[-1].work.activation == "none"
            if chained and plain and kinds[at : at + len(pattern)] == pattern:
                found.append((operator, at, len(pattern)))
    return found
