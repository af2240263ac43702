"""Which layers share a kernel: whatever the cost model predicts to be faster, by a margin.

A shared kernel saves that the map between two layers is written and read again, a parallel
region, and waiting for a classifier's weights; it costs that weights pass once for each row
group, and a depthwise layer computed twice where threads split channels. An artifact runs on
one thread or on all that it was compiled for, and must not lose on either.

What the model gets wrong is listed in docs/fusion.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.facts import shared
from tvm_mobilenet.operators.footprint import map_bytes
from tvm_mobilenet.operators.workload import Operator, Workload
from tvm_mobilenet.prediction.cache_context import CacheContext
from tvm_mobilenet.prediction.cost import Cost, total
from tvm_mobilenet.prediction.predict import predict

Fusion = Literal["auto", "all", "none"]
"""Which layers share a kernel: those that the model would fuse, all that can, none."""

FUSIONS: tuple[Fusion, ...] = ("auto", "all", "none")

MARGIN = 0.015
"""Share of a block's time below which two predictions are the same."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether some layers share a kernel.

    Attributes
    ----------
    fused : bool
        Whether they do.
    why : str
        One sentence for people.
    source : {"rule", "record", "asked"}
        Who says so.
    """

    fused: bool
    why: str
    source: str = "rule"


FusionFor = Callable[[str], Choice | None]
"""From the key of a shared kernel's workload to what was measured, None where nothing was."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Layers with a kernel each, and with one kernel, on some threads.

    Attributes
    ----------
    threads : int
        0 on a GPU.
    unfused, fused : Cost
        What they cost with kernels of their own, one after the other, and with the shared one.
    """

    threads: int
    unfused: Cost
    fused: Cost

    @property
    def gain(self) -> float:
        """Share of the time that one kernel saves; negative where it loses."""
        return 1 - self.fused.cycles / self.unfused.cycles


def join(operator: Operator, parts: Sequence[Workload]) -> Workload:
    """Return the workload of one kernel that computes several.

    Parameters
    ----------
    operator : str
        One that computes several layers.
    parts : sequence of Workload
        They are one of its :attr:`~tvm_mobilenet.operators.facts.Shared.patterns`.
    """
    return shared()[operator].join(parts)


def compare(
    operator: Operator,
    parts: Sequence[Workload],
    target: TargetSpec,
    context: CacheContext,
    threads: int,
) -> Comparison:
    """Predict both ways.

    Parameters
    ----------
    operator : {"separable", "tail"}
        What the one kernel would be.
    parts : sequence of Workload
        One after the other.
    context : CacheContext
        The network around the first of them.
    threads : int
        Threads that run the code.
    """
    costs, at = [], context
    for part in parts:
        costs.append(predict(part, target, at, threads))
        at = at.then(map_bytes(part))
    fused = predict(join(operator, parts), target, context, threads)
    return Comparison(threads, total(costs), fused)


def settle(  # noqa: PLR0917  the layers, then who may decide
    operator: Operator,
    parts: Sequence[Workload],
    target: TargetSpec,
    context: CacheContext,
    fusion: Fusion,
    fusion_for: FusionFor,
) -> Choice:
    """Decide whether layers share a kernel: as asked for, as measured, else as predicted.

    Parameters
    ----------
    operator, parts, target, context
        As for :func:`choose`.
    fusion : {"auto", "all", "none"}
        What the user asks for.
    fusion_for : callable
        Where measured answers come from.
    """
    if fusion != "auto":
        return Choice(fusion == "all", f"asked for: fusion {fusion}", "asked")
    return fusion_for(join(operator, parts).key) or choose(operator, parts, target, context)


def choose(
    operator: Operator, parts: Sequence[Workload], target: TargetSpec, context: CacheContext
) -> Choice:
    """Decide whether layers share a kernel.

    Parameters
    ----------
    operator : {"separable", "tail"}
        What the one kernel would be.
    parts : sequence of Workload
        The layers, one after the other.
    target : TargetSpec
        Compared on one thread and on as many as it has cores; on a GPU once.
    context : CacheContext
        The network around them.
    """
    if target.gpu is not None:
        return decide([compare(operator, parts, target, context, 0)])
    several = sorted({1, target.cores})
    return decide([compare(operator, parts, target, context, n) for n in several])


def decide(compared: Sequence[Comparison]) -> Choice:
    """Decide from predictions: a gain on some number of threads, a loss on none.

    Parameters
    ----------
    compared : sequence of Comparison
        On one thread or on all.
    """
    best = max(compared, key=lambda one: one.gain)
    worst = min(compared, key=lambda one: one.gain)
    if worst.gain < 0:
        return Choice(False, _told(worst, "slower"))
    if best.gain < MARGIN:
        return Choice(False, f"only {_told(best, 'faster')}")
    return Choice(True, _told(best, "faster"))


def _told(one: Comparison, how: str) -> str:
    """Say what one kernel would gain or lose."""
    threads = {0: "all units", 1: "1 thread"}.get(one.threads, f"{one.threads} threads")
    unfused, fused = (f"{cost.cycles / 1e3:.1f}" for cost in (one.unfused, one.fused))
    why = f"{abs(one.gain):.1%} {how} on {threads}, mostly {_reason(one)}"
    return f"{why}: {unfused} → {fused} kcycles"


def _reason(one: Comparison) -> str:
    """Return the part that most of the difference comes from."""
    sign = 1 if one.gain > 0 else -1
    differ = {
        part: sign * (one.unfused.parts[part] - one.fused.parts[part])
        for part in _PARTS
        if part in one.unfused.parts
    }
    return _PARTS[max(differ, key=lambda part: differ[part])]


_PARTS = {
    "compute": "arithmetic",
    "L2": "L2",
    "L3": "L3",
    "memory": "memory",
    "start": "first weights",
    "threads": "threads",
    "launch": "launches",
    "latency": "latency",
}
"""Parts of a prediction, as the reason names them."""
