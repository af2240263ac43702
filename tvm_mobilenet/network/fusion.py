"""Which units share a kernel: what could be joined, and what is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.network.cache_contexts import CacheContexts
from tvm_mobilenet.network.plan import Decision
from tvm_mobilenet.network.units import Readers, Unit
from tvm_mobilenet.operators.facts import shared
from tvm_mobilenet.prediction.fusion import Fusion, FusionFor, settle


def decide(
    model: Model,
    units: Sequence[Unit],
    contexts: CacheContexts,
    target: TargetSpec,
    *,
    operators: Collection[str],
    fusion: Fusion,
    fusion_for: FusionFor,
) -> list[Decision]:
    """Decide which units share a kernel: a unit is in one shared kernel at most.

    Parameters
    ----------
    units : sequence of Unit
        Its units, none joined.
    contexts : CacheContexts
        Made of these units.
    target : TargetSpec
        Its caches and cores decide.
    operators : collection of str
        For which there are kernels.
    fusion : {"auto", "all", "none"}
        As measured or else predicted; wherever it is possible; nowhere.
    fusion_for : callable
        Measured answer for the key of a shared kernel's workload, or None.
    """
    taken: set[str] = set()
    decisions = []
    for operator, group in _candidates(model, units):
        names = {unit.name for unit in group}
        if operator not in operators or names & taken:
            continue
        parts, context = [unit.work for unit in group], contexts.at(group[0])
        choice = settle(operator, parts, target, context, fusion, fusion_for)
        decisions.append(Decision(operator, group, choice))
        if choice.fused:
            taken |= names
    return decisions


def _candidates(model: Model, units: Sequence[Unit]) -> Iterator[tuple[str, tuple[Unit, ...]]]:
    """Yield what could be joined, pattern by pattern."""
    readers = Readers(model)
    reading = {unit.source: unit for unit in units}
    for operator, pattern in ((o, p) for o, facts in shared().items() for p in facts.patterns):
        for first in units:
            group = [first]
            # Who reads it alone must read it as what the kernel is of, not as what it adds.
            while len(group) < len(pattern) and readers.only(group[-1].name) is not None:
                following = reading.get(group[-1].name)
                if following is None:
                    break
                group.append(following)
            if tuple(unit.kind for unit in group) == pattern:
                yield operator, tuple(group)
