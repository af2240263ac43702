"""Which groups of a Relay function share a kernel, and what each kernel computes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tvm_mobilenet.operators.footprint import map_bytes, weight_bytes
from tvm_mobilenet.operators.sizes import convolution, dense, over_channels
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.prediction.around import Around
from tvm_mobilenet.prediction.fusion import Fusion, FusionFor, join, settle
from tvm_mobilenet.relay.match import Group, groups_of, in_order, read_by, shape_of
from tvm_mobilenet.schedules.te.rules import operators_of
from tvm_mobilenet.target import TargetSpec


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel of the network.

    Attributes
    ----------
    groups : tuple of Group
        What it computes, one after the other.
    parts : tuple of Workload
        Of each.
    work : Workload
        All of it.
    """

    groups: tuple[Group, ...]
    parts: tuple[Workload, ...]
    work: Workload

    @property
    def members(self) -> Iterator[Any]:
        """Every expression that it computes."""
        return (expr for group in self.groups for expr in group.members)


def kernels_of(
    func: Any, target: TargetSpec, fusion: Fusion = "auto", fusion_for: FusionFor = lambda _: None
) -> dict[Any, Kernel]:
    """Find the kernels of a function, and join those that shall share one.

    Parameters
    ----------
    func : relay.Function
        Its types inferred.
    target : TargetSpec
    fusion : {"auto", "all", "none"}
        As :func:`tvm_mobilenet.prediction.fusion.settle` takes it.
    fusion_for : callable
        Where measured answers come from.

    Returns
    -------
    dict of relay.Expr to Kernel
        By the expression whose value it writes.
    """
    network = _Network(func, target)
    kernels = {
        end: Kernel((group,), (work,), work)
        for (end, group), work in zip(network.groups.items(), network.works.values(), strict=True)
    }
    for first, last in network.blocks():
        parts = (network.works[first.end], network.works[last.end])
        around = network.around(first)
        if settle("separable", parts, target, around, fusion, fusion_for).fused:
            del kernels[first.end]
            kernels[last.end] = Kernel((first, last), parts, join("separable", parts))
    return kernels


@dataclass
class _Network:
    """A function's groups, in the order of execution, and who reads what."""

    func: Any
    target: TargetSpec
    groups: dict[Any, Group] = field(init=False)
    readers: dict[Any, list[Group | None]] = field(init=False)
    works: dict[Any, Workload] = field(init=False)

    def __post_init__(self) -> None:
        found = {
            end: group
            for end, group in groups_of(self.func).items()
            if group.weight is not None or group.kind in operators_of(self.target)
        }
        inside = {e for group in found.values() for e in group.members if e != group.end}
        self.groups, self.readers = {}, {self.func.body: [None]}
        for expr in in_order(self.func):
            if expr in inside:
                continue
            if (group := found.get(expr)) is not None:
                self.groups[expr] = group
            sources = read_by(expr) if group is None else _sources(group)
            for source in sources:
                self.readers.setdefault(source, []).append(group)
        self.works = {end: self._work(group) for end, group in self.groups.items()}

    def blocks(self) -> Iterator[tuple[Group, Group]]:
        """Yield depthwise layers and the pointwise layers that alone read them."""
        if "separable" not in operators_of(self.target):
            return
        for end, last in self.groups.items():
            first = self.groups.get(last.anchor.args[0])
            if first is None or self.readers[first.end] != [last]:
                continue
            operators = self.works[first.end].operator, self.works[end].operator
            if operators == ("depthwise", "pointwise"):
                yield first, last

    def around(self, group: Group) -> Around:
        """Return what the cost model knows of the network around a group."""
        places = {end: place for place, end in enumerate(self.groups, 1)}
        at = places.get(group.anchor.args[0], places[group.end] - 1)
        image = 4 * math.prod(shape_of(self.func.params[0]))
        works = self.works.values()
        return Around(sum(map(weight_bytes, works)), (image, *map(map_bytes, works)), at)

    def _work(self, group: Group) -> Workload:
        in_shape, shape = shape_of(group.anchor.args[0]), shape_of(group.end)
        if group.kind in ("pool", "scale", "softmax"):
            return over_channels(group.kind, in_shape, self.target)  # type: ignore[arg-type]
        if group.kind == "dense":
            # In blocks where only kernels of ours that take blocks read it.
            readers = self.readers.get(group.end, [None])
            blocked = all(reader and reader.kind != "softmax" for reader in readers)
            return dense(in_shape, shape[1], self.target, group.activation, blocked=blocked)
        attrs = group.anchor.attrs
        assert group.weight is not None
        return convolution(
            in_shape,
            shape,
            self.target,
            kernel=group.weight.shape[2:],
            strides=[int(s) for s in attrs.strides],
            padding=[int(p) for p in attrs.padding],
            groups=int(attrs.groups),
            activation=group.activation,
            residual=group.residual is not None,
        )


def _sources(group: Group) -> list[Any]:
    """Return the maps that a group reads."""
    read = [group.anchor.args[0]]
    if group.kind == "scale":
        read.append(group.anchor.args[1])
    return read if group.residual is None else [*read, group.residual]
