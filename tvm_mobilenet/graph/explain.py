"""What a compilation would choose, and what it expects, without compiling: no TVM in here."""

from __future__ import annotations

import math

from tvm_mobilenet.graph.explanation import Explanation, Kernel, Step
from tvm_mobilenet.graph.units import Unit, candidates, units_of
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.operators.footprint import map_bytes, weight_bytes
from tvm_mobilenet.prediction.around import Around
from tvm_mobilenet.prediction.fusion import Fusion, FusionFor, compare, settle
from tvm_mobilenet.prediction.predict import predict
from tvm_mobilenet.target import TargetSpec

__all__ = ["Explanation", "Step", "explain"]


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
        That run it; the target's cores by default, nothing to a GPU. The choice, which is
        made at compile time, does not depend on them.

    Returns
    -------
    Explanation
    """
    threads = 0 if target.gpu is not None else threads or target.cores
    units = units_of(model, target)
    kernels = [unit.work for unit in units]
    # As fuse_blocks sees it: the image, then every map; and all weights.
    values = (4 * math.prod(model.input_shape), *map(map_bytes, kernels))
    weights = sum(map(weight_bytes, kernels))
    names = [unit.names for unit in units]
    # Where a unit's input stands among the values: what no kernel of ours makes, just before it.
    made = {unit.names[-1]: at for at, unit in enumerate(units, 1)}
    arounds = [Around(weights, values, made.get(unit.source, at)) for at, unit in enumerate(units)]
    taken: dict[int, Step] = {}
    declined: list[tuple[tuple[int, ...], Step]] = []
    for operator, group in candidates(model, units, target):
        if any(i in taken for i in group):
            continue
        parts, around = [kernels[i] for i in group], arounds[group[0]]
        choice = settle(operator, parts, target, around, fusion, fusion_for)
        both = compare(operator, parts, target, around, threads)
        cost = both.joined if choice.fused else both.apart
        members = [units[i] for i in group]
        shared = tuple(name for unit in members for name in unit.names)
        if choice.fused:
            made_of = (Kernel(shared, operator, sum(unit.macs for unit in members)),)
            taken |= dict.fromkeys(group, Step(shared, operator, cost, made_of, both, choice))
        else:
            apart = tuple(map(_alone, members))
            declined.append((group, Step(shared, operator, cost, apart, both, choice)))
    for places, step in declined:
        if not any(i in taken for i in places):
            taken |= dict.fromkeys(places, step)
    steps: list[Step] = []
    for at, work in enumerate(kernels):
        if at not in taken:
            cost = predict(work, target, arounds[at], threads)
            steps.append(Step(names[at], work.operator, cost, (_alone(units[at]),)))
        elif taken[at].layers[0] == names[at][0]:
            steps.append(taken[at])
    covered = {name for some in names for name in some}
    unknown = tuple(layer.name for layer in model.layers if layer.name not in covered)
    return Explanation(model.title, target, threads, tuple(steps), unknown, model.macs)


def _alone(unit: Unit) -> Kernel:
    return Kernel(unit.names, unit.work.operator, unit.macs)
