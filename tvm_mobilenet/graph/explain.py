"""What a compilation would choose, and what it expects, without compiling: no TVM in here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from tvm_mobilenet.compute.workload import Operator, Workload, channel_block, class_block
from tvm_mobilenet.graph.around import Around, map_bytes, weight_bytes
from tvm_mobilenet.graph.cost import Cost, total
from tvm_mobilenet.graph.fusion import Choice, Comparison, Fusion, FusionFor, compare, settle
from tvm_mobilenet.graph.predict import predict
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
from tvm_mobilenet.target import TargetSpec

_PATTERNS: tuple[tuple[Operator, tuple[str, ...]], ...] = (
    ("tail", ("pointwise", "pool", "dense")),
    ("separable", ("depthwise", "pointwise")),
    ("separable", ("depthwise", "residual")),
)
"""As in ``fuse_blocks``: what a kernel can hold, the first that fits."""


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel, or layers that could be one.

    Attributes
    ----------
    layers : tuple of str
    operator : str
        ``"separable"`` and ``"tail"`` where there is a choice.
    cost : Cost
        Of what is chosen.
    compared : Comparison, optional
        Both ways, where there is a choice.
    choice : Choice, optional
    """

    layers: tuple[str, ...]
    operator: str
    cost: Cost
    compared: Comparison | None = None
    choice: Choice | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        both = self.compared
        found: dict[str, Any] = {
            "layers": list(self.layers),
            "operator": self.operator,
            "predicted": _cost(self.cost),
        }
        if both is not None and self.choice is not None:
            found |= {
                "unfused": _cost(both.apart),
                "fused": _cost(both.joined),
                "fusion": asdict(self.choice),
            }
        return found


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every kernel of a network, in the order of execution.

    Attributes
    ----------
    model : str
        Title.
    target : TargetSpec
    threads : int
    steps : tuple of Step
    unpredicted : tuple of str
        Layers that the cost model knows nothing of.
    """

    model: str
    target: TargetSpec
    threads: int
    steps: tuple[Step, ...]
    unpredicted: tuple[str, ...]

    @property
    def total(self) -> Cost:
        """All kernels, as chosen."""
        return total(step.cost for step in self.steps)

    def totals(self) -> dict[str, Cost]:
        """Return the network as chosen, with nothing fused, and with everything."""
        apart = [step.compared.apart if step.compared else step.cost for step in self.steps]
        joined = [step.compared.joined if step.compared else step.cost for step in self.steps]
        return {"chosen": self.total, "unfused": total(apart), "fused": total(joined)}

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; bytes, multiply-adds and cycles of one thread."""
        return {
            "model": self.model,
            "target": self.target.to_dict(),
            "threads": self.threads,
            "steps": [step.to_dict() for step in self.steps],
            "unpredicted": list(self.unpredicted),
            "totals": {name: _cost(cost) for name, cost in self.totals().items()},
        }


def _cost(cost: Cost) -> dict[str, Any]:
    return {
        "macs": cost.macs,
        "bytes": {level: round(count) for level, count in cost.moved.items()},
        "cycles": round(cost.cycles),
        "parts": {part: round(count) for part, count in cost.parts.items()},
        "share_of_bound": cost.share,
        "bound_by": cost.bound,
    }


def workload(layer: Layer, target: TargetSpec) -> Workload | None:
    """Return the kernel of a layer by itself; None for one that has none of ours."""
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


def explain(
    model: Model,
    target: TargetSpec,
    *,
    fusion: Fusion = "auto",
    fusion_for: FusionFor = lambda _: None,
    threads: int | None = None,
) -> Explanation:
    """Predict every kernel of a network, and which layers share one.

    Parameters
    ----------
    model : Model
    target : TargetSpec
        What it would be compiled for; need not be this machine.
    fusion : {"auto", "all", "none"}
    fusion_for : callable
        Measured answer for the workload of a shared kernel, or None.
    threads : int, optional
        That run it; the target's cores by default. The choice, which is made at compile
        time, does not depend on them.

    Returns
    -------
    Explanation
    """
    threads = target.cores if threads is None else threads
    units = _units(model, target)
    kernels = [unit.work for unit in units]
    # As fuse_blocks sees it: the image, then every map; and all weights.
    values = (4 * math.prod(model.input_shape), *map(map_bytes, kernels))
    weights = sum(map(weight_bytes, kernels))
    names = [unit.names for unit in units]
    taken: dict[int, Step] = {}
    declined: list[tuple[range, Step]] = []
    for operator, at, count in _candidates(model, units):
        if any(i in taken for i in range(at, at + count)):
            continue
        parts, around = kernels[at : at + count], Around(weights, values, at)
        choice = settle(operator, parts, target, around, fusion, fusion_for)
        both = compare(operator, parts, target, around, threads)
        cost = both.joined if choice.fused else both.apart
        shared = tuple(name for some in names[at : at + count] for name in some)
        step = Step(shared, operator, cost, both, choice)
        if choice.fused:
            taken |= dict.fromkeys(range(at, at + count), step)
        else:
            declined.append((range(at, at + count), step))
    for places, step in declined:
        if not any(i in taken for i in places):
            taken |= dict.fromkeys(places, step)
    steps: list[Step] = []
    for at, work in enumerate(kernels):
        if at not in taken:
            cost = predict(work, target, Around(weights, values, at), threads)
            steps.append(Step(names[at], work.operator, cost))
        elif taken[at].layers[0] == names[at][0]:
            steps.append(taken[at])
    covered = {name for some in names for name in some}
    unknown = tuple(layer.name for layer in model.layers if layer.name not in covered)
    return Explanation(model.title, target, threads, tuple(steps), unknown)


@dataclass(frozen=True, slots=True)
class _Unit:
    """Layers that always share a kernel: one, or a pointwise layer and what adds to it."""

    layers: tuple[Layer, ...]
    work: Workload

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers)

    @property
    def kind(self) -> str:
        return "residual" if self.work.residual else self.work.operator


def _units(model: Model, target: TargetSpec) -> list[_Unit]:
    """List the layers that the model knows, as ``fuse_epilogue`` groups them."""
    reads = _reads(model)
    units: list[_Unit] = []
    for layer in model.layers:
        work = workload(layer, target)
        if isinstance(layer, Dense) and work is not None and _is_hidden(model, layer):
            block = channel_block(layer.out_features, target)
            work = dataclasses.replace(work, operator="pointwise", out_block=block)
        if work is not None:
            units.append(_Unit((layer,), work))
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
                units[-1] = _Unit((*before.layers, layer), added)
    return units


def _is_hidden(model: Model, layer: Dense) -> bool:
    """Whether other dense layers read this one, which keeps its output in blocks for them."""
    readers = [other for other in model.layers if layer.name in other.inputs]
    return bool(readers) and all(isinstance(reader, Dense) for reader in readers)


def _reads(model: Model) -> list[str]:
    return [name for layer in model.layers for name in layer.inputs]


def _candidates(model: Model, units: Sequence[_Unit]) -> list[tuple[Operator, int, int]]:
    """List what could be joined, tails first: operator, first kernel, kernels."""
    reads = _reads(model)
    kinds = tuple(unit.kind for unit in units)
    found = []
    for operator, pattern in _PATTERNS:
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
