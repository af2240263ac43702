"""What a compilation would choose, and what it expects, without compiling: no TVM in here."""

from __future__ import annotations

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
from tvm_mobilenet.models.spec import Conv2d, Dense, GlobalAvgPool, Layer, Model, Softmax
from tvm_mobilenet.target import TargetSpec

_PATTERNS: tuple[tuple[Operator, tuple[Operator, ...]], ...] = (
    ("tail", ("pointwise", "pool", "dense")),
    ("separable", ("depthwise", "pointwise")),
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
    if isinstance(layer, GlobalAvgPool):
        h, w = layer.in_shape[2:]
        return Workload("pool", n, channels, channels, (h, w), (1, 1), block, block)
    if isinstance(layer, Dense):
        wide = class_block(layer.out_features, target)
        return Workload("dense", n, channels, layer.out_features, (1, 1), (1, 1), block, wide)
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
    works = {layer.name: workload(layer, target) for layer in model.layers}
    known = [layer for layer in model.layers if works[layer.name] is not None]
    kernels = [work for work in works.values() if work is not None]
    # As fuse_blocks sees it: the image, then every map; and all weights.
    values = (4 * math.prod(model.input_shape), *map(map_bytes, kernels))
    weights = sum(map(weight_bytes, kernels))
    names = tuple(layer.name for layer in known)
    taken: dict[int, Step] = {}
    declined: list[tuple[int, Step]] = []
    for operator, at, count in _candidates(model, known, kernels):
        if any(i in taken for i in range(at, at + count)):
            continue
        parts, around = kernels[at : at + count], Around(weights, values, at)
        choice = settle(operator, parts, target, around, fusion, fusion_for)
        both = compare(operator, parts, target, around, threads)
        cost = both.joined if choice.fused else both.apart
        step = Step(names[at : at + count], operator, cost, both, choice)
        if choice.fused:
            taken |= dict.fromkeys(range(at, at + count), step)
        else:
            declined.append((at, step))
    for at, step in declined:
        places = range(at, at + len(step.layers))
        if not any(i in taken for i in places):
            taken |= dict.fromkeys(places, step)
    steps: list[Step] = []
    for at, work in enumerate(kernels):
        if at not in taken:
            cost = predict(work, target, Around(weights, values, at), threads)
            steps.append(Step((names[at],), work.operator, cost))
        elif taken[at].layers[0] == names[at]:
            steps.append(taken[at])
    unknown = tuple(name for name, work in works.items() if work is None)
    return Explanation(model.title, target, threads, tuple(steps), unknown)


def _candidates(
    model: Model, layers: Sequence[Layer], kernels: Sequence[Workload]
) -> list[tuple[Operator, int, int]]:
    """List what could be joined, tails first: operator, first kernel, kernels."""
    reads = [name for layer in model.layers for name in layer.inputs]
    kinds = tuple(work.operator for work in kernels)
    found = []
    for operator, pattern in _PATTERNS:
        for at in range(len(layers) - len(pattern) + 1):
            group = layers[at : at + len(pattern)]
            chained = all(
                after.inputs == (before.name,) and reads.count(before.name) == 1
                for before, after in pairwise(group)
            )
            if chained and kinds[at : at + len(pattern)] == pattern:
                found.append((operator, at, len(pattern)))
    return found
