"""The kernels that a model's layers would become, before any are joined: no TVM in here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
from tvm_mobilenet.operators.sizes import convolution, dense, over_channels
from tvm_mobilenet.operators.workload import Operator, Workload
from tvm_mobilenet.target import TargetSpec

_PATTERNS: tuple[tuple[Operator, tuple[str, ...]], ...] = (
    ("tail", ("pointwise", "pool", "dense")),
    ("separable", ("depthwise", "pointwise")),
    ("separable", ("depthwise", "residual")),
)
"""As in ``fuse_blocks``: what a kernel can hold, the first that fits."""


_OVER_CHANNELS: dict[type[Layer], Literal["pool", "scale", "softmax"]] = {
    GlobalAvgPool: "pool",
    Scale: "scale",
    Softmax: "softmax",
}


def workload(layer: Layer, target: TargetSpec) -> Workload | None:
    """Return the kernel of a layer by itself; None for one that has none of ours."""
    if isinstance(layer, Conv2d):
        # As fuse_epilogue takes them: groups that do not mix some channels are TVM's.
        if layer.groups > 1 and not layer.groups == layer.in_channels == layer.out_channels:
            return None
        return convolution(
            layer.in_shape,
            layer.out_shape,
            target,
            kernel=layer.kernel,
            strides=layer.strides,
            padding=layer.padding,
            groups=layer.groups,
            activation=layer.activation,
        )
    if isinstance(layer, Dense):
        return dense(layer.in_shape, layer.out_features, target, layer.activation)
    operator = _OVER_CHANNELS.get(type(layer))
    if operator is None or (operator == "scale" and len(set(layer.inputs)) == 1):
        return None
    return over_channels(operator, layer.in_shape, target)


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
    def macs(self) -> int:
        """Multiply-adds of its layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def source(self) -> str:
        """What its first layer reads."""
        return self.layers[0].inputs[0]

    @property
    def kind(self) -> str:
        """The operator, as patterns name it; ``""`` for what joins nothing."""
        first, operator = self.layers[0], self.work.operator
        if self.work.residual:
            added = next(layer for layer in self.layers if isinstance(layer, Add))
            return "residual" if self.source not in added.inputs else ""
        if isinstance(first, Dense):
            return "dense" if self.work.activation == "none" else ""
        # A lone channel is depthwise by its kernel, and no group that could be joined.
        lone = isinstance(first, Conv2d) and operator == "depthwise" and first.groups == 1
        return "" if lone else operator


class _Network:
    """Who reads what: the network's result counts as a reader."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._outputs = set(model.outputs)
        self._readers: dict[str, list[Layer]] = {}
        for layer in model.layers:
            for name in dict.fromkeys(layer.inputs):
                self._readers.setdefault(name, []).append(layer)

    def readers(self, name: str) -> list[Layer]:
        """Return the layers that read a layer; none, too, if it is an output of the network."""
        return [] if name in self._outputs else self._readers.get(name, [])

    def only_reader(self, name: str) -> Layer | None:
        """Return the layer that alone reads a layer, once."""
        readers = self.readers(name)
        alone = len(readers) == 1 and readers[0].inputs.count(name) == 1
        return readers[0] if alone else None


def units_of(model: Model, target: TargetSpec) -> list[Unit]:
    """List the layers that have kernels of ours, as ``fuse_epilogue`` groups them."""
    network = _Network(model)
    taken: set[str] = set()
    units: list[Unit] = []
    for layer in model.layers:
        work = workload(layer, target)
        if work is not None:
            units.append(_grown(layer, work, network, taken))
            taken.update(units[-1].names)
    places = {layer.name: at for at, layer in enumerate(model.layers)}
    # A kernel stands where its last layer does.
    units.sort(key=lambda unit: places[unit.names[-1]])
    return [_in_blocks(unit, network, target) for unit in units]


def _grown(layer: Layer, work: Workload, network: _Network, taken: set[str]) -> Unit:
    """Return a layer with what adds to it; an activation that is a layer of its own stays one."""
    following = network.only_reader(layer.name)
    plain = work.operator == "pointwise" and work.activation == "none"
    if plain and isinstance(following, Add) and following.name not in taken:
        return Unit((layer, following), dataclasses.replace(work, residual=True))
    return Unit((layer,), work)


def _in_blocks(unit: Unit, network: _Network, target: TargetSpec) -> Unit:
    """Return a dense layer that other dense layers alone read as what it is: pointwise."""
    first = unit.layers[0]
    readers = network.readers(unit.names[-1])
    if not (isinstance(first, Dense) and readers):
        return unit
    if not all(isinstance(reader, Dense) for reader in readers):
        return unit
    activation = unit.work.activation
    work = dense(first.in_shape, first.out_features, target, activation, blocked=True)
    return Unit(unit.layers, work)


def candidates(
    model: Model, units: Sequence[Unit], target: TargetSpec
) -> list[tuple[Operator, tuple[int, ...]]]:
    """List what could be joined, tails first: operator, and which units."""
    network = _Network(model)
    reading = {unit.source: at for at, unit in enumerate(units)}
    found: list[tuple[Operator, tuple[int, ...]]] = []
    for operator, pattern in _PATTERNS:
        if operator == "tail" and target.gpu is not None:
            continue  # its pool waits for every block of the map
        for first in range(len(units)):
            group = [first]
            for _ in pattern[1:]:
                name = units[group[-1]].names[-1]
                # Whoever reads it alone, reads it as what the kernel is of, not as what it adds.
                alone = network.only_reader(name) is not None and name in reading
                if not alone:
                    break
                group.append(reading[name])
            if tuple(units[at].kind for at in group) == pattern:
                found.append((operator, tuple(group)))
    return found
