"""What a compilation would choose, and what it expects: its plan, with what each kernel takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tvm_mobilenet.network.explanation import Explanation, PlannedKernel, Step
from tvm_mobilenet.network.plan import Call, Decision, NetworkPlan
from tvm_mobilenet.network.storage import memory_of
from tvm_mobilenet.prediction.cost import Cost, total
from tvm_mobilenet.prediction.fusion import Comparison, compare
from tvm_mobilenet.prediction.predict import predict
from tvm_mobilenet.schedules.knobs import TRACE


def explain(plan: NetworkPlan, threads: int | None = None) -> Explanation:
    """Predict every kernel of a plan, and both ways where layers could share one.

    Parameters
    ----------
    threads : int, optional
        That run it; the target's cores by default, nothing to a GPU. The choices, which are
        made at compile time, do not depend on them.
    """
    target = plan.target
    threads = 0 if target.gpu is not None else threads or target.cores
    explainer = _Explainer(plan, threads)
    steps: dict[str, Step] = {}
    for decision in _apart(plan):
        step = explainer.declined(decision)
        steps |= dict.fromkeys((unit.name for unit in decision.units), step)
    for call in plan.calls:
        if call.output.name not in steps:
            steps[call.output.name] = explainer.step(call)
    in_order = (steps[call.output.name] for call in plan.calls)
    known = {layer.name for call in plan.calls for layer in call.layers}
    return Explanation(
        plan.model.title,
        target,
        threads,
        tuple({step.layers: step for step in in_order}.values()),
        tuple(layer.name for layer in plan.model.layers if layer.name not in known),
        plan.model.macs,
        memory_of(plan),
    )


def _apart(plan: NetworkPlan) -> list[Decision]:
    """List the decisions against a shared kernel that are shown: a unit is in one at most."""
    taken = {unit.name for d in plan.decisions if d.choice.fused for unit in d.units}
    found = []
    for decision in plan.decisions:
        names = {unit.name for unit in decision.units}
        if not names & taken:
            found.append(decision)
            taken |= names
    return found


class _Explainer:
    """Predicts what the kernels of a plan take."""

    def __init__(self, plan: NetworkPlan, threads: int) -> None:
        self._plan, self._threads = plan, threads
        self._fused = {d.units[-1].name: d for d in plan.decisions if d.choice.fused}

    def step(self, call: Call) -> Step:
        """Return the step of a kernel, compared with several where it could have been several."""
        cost, kernel = self._cost(call), self._kernel(call)
        names = tuple(layer.name for layer in call.layers)
        decision = self._fused.get(call.output.name)
        if decision is None:
            return Step(names, call.work.operator, cost, (kernel,))
        both = replace(self._both(decision), fused=cost)
        return Step(names, decision.operator, cost, (kernel,), both, decision.choice)

    def declined(self, decision: Decision) -> Step:
        """Return the step of layers that could share a kernel, and do not."""
        calls = [self._plan.by_value[unit.name] for unit in decision.units]
        both = self._both(decision)
        if any(map(self._recorded, calls)):
            both = replace(both, unfused=total(map(self._cost, calls)))
        names = tuple(layer.name for call in calls for layer in call.layers)
        kernels = tuple(map(self._kernel, calls))
        return Step(names, decision.operator, both.unfused, kernels, both, decision.choice)

    def _both(self, decision: Decision) -> Comparison:
        context = self._plan.contexts.at(decision.units[0])
        parts = [unit.work for unit in decision.units]
        return compare(decision.operator, parts, self._plan.target, context, self._threads)

    def _recorded(self, call: Call) -> Mapping[str, int | str] | None:
        """Return a kernel's recorded knobs; MetaSchedule's traces are predicted by rule."""
        knobs = self._plan.recorded(call.work.key)
        return None if knobs is None or TRACE in knobs else knobs

    def _cost(self, call: Call) -> Cost:
        context = self._plan.contexts.at(call.units[0])
        knobs = self._recorded(call)
        return predict(call.work, self._plan.target, context, self._threads, knobs)

    def _kernel(self, call: Call) -> PlannedKernel:
        kernel = self._plan.kernels[call.work.key]
        names = tuple(layer.name for layer in call.layers)
        knobs = dict(kernel.knobs)
        return PlannedKernel(names, call.work.operator, call.macs, knobs, kernel.source)
