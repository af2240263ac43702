"""AutoTVM: our TE schedules as its templates, its tuner as one who proposes, its log's format.

A template's space is the answers that a plan's knobs can have, found by making every plan.
AutoTVM computes with a configuration's values, so a knob of words is one of 0 and 1 for every
word but its first: ``threads_one``.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tvm import autotvm
from tvm.autotvm.tuner import XGBTuner
from tvm.autotvm.tuner.sa_model_optimizer import SimulatedAnnealingOptimizer

from tvm_mobilenet.emit.relay.kernels import scheduled
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans import TE_PLANS, plan
from tvm_mobilenet.schedules.te.rules import TE

Answers = dict[str, int | str]

_PLAN = 16
"""Measured candidates between two fits of the cost model, and candidates of a proposal."""

_ANNEALING = {"n_iter": 60, "parallel_size": 64, "early_stop": 20}
"""The search between two fits; by default 500 steps of 128 points, up to 20 s of a core."""


class _Scripted(Knobs):
    """Answers by the number of an option: first as told, then the first one."""

    def __init__(self, script: Sequence[int]) -> None:
        super().__init__()
        self._script = script
        self.counts: list[int] = []

    def _answer(self, name: str, options: Sequence[Any], default: Any) -> Any:
        at = len(self.counts)
        self.counts.append(len(options))
        return options[self._script[at] if at < len(self._script) else 0]


def answers(work: Workload, target: TargetSpec) -> Iterator[Answers]:
    """Yield every set of knobs that a workload's schedule allows."""
    pending: list[list[int]] = [[]]
    while pending:
        script = pending.pop()
        knobs = _Scripted(script)
        plan(work, knobs, target, TE_PLANS)
        yield dict(knobs.chosen)
        taken = [*script, *[0] * (len(knobs.counts) - len(script))]
        for at in range(len(script), len(knobs.counts)):
            pending.extend([*taken[:at], other] for other in range(1, knobs.counts[at]))


@functools.lru_cache(maxsize=64)
def _space(work: Workload, target: TargetSpec) -> tuple[list[Answers], dict[str, list[Any]]]:
    """Return all answers, and the values of each knob."""
    found = list(answers(work, target))
    values: dict[str, list[Any]] = {}
    for one in found:
        for name, value in one.items():
            known = values.setdefault(name, [])
            if value not in known:
                known.append(value)
    return found, {name: sorted(known) for name, known in values.items()}


def _encoded(one: Mapping[str, Any], values: Mapping[str, list[Any]]) -> dict[str, int]:
    numbers = {}
    for name, options in values.items():
        if isinstance(options[0], str):
            for word in options[1:]:
                numbers[f"{name}_{word}"] = int(one[name] == word)
        else:
            numbers[name] = int(one[name])
    return numbers


def knobs_of(work: Workload, target: TargetSpec, values: Mapping[str, int]) -> Answers:
    """Return the knobs that a configuration of a template stands for; KeyError without any.

    `values` are the configuration's entities, by name.
    """
    found, options = _space(work, target)
    for one in found:
        if _encoded(one, options) == values:
            return one
    raise KeyError(f"{work.key} has no configuration {values}")


def _template(work_text: str, target_text: str) -> Any:
    """Define the space, or schedule what a configuration of it says."""
    work, target = Workload.parse(work_text), TargetSpec.from_dict(json.loads(target_text))
    config = autotvm.get_config()
    found, values = _space(work, target)
    encoded = {tuple(_encoded(one, values).values()): one for one in found}
    if isinstance(config, autotvm.ConfigSpace):
        names = list(_encoded(found[0], values))
        for at, name in enumerate(names):
            config.define_knob(name, sorted({numbers[at] for numbers in encoded}))
        config.multi_filter(
            filter=lambda entity: tuple(entity[name].val for name in names) in encoded
        )
        config.add_flop(2 * max(work.macs, 1))
        return scheduled(work, target, Knobs(found[0]))
    knobs = None
    if not config.is_fallback:
        knobs = encoded[tuple(config[name].val for name in _encoded(found[0], values))]
    config.add_flop(2 * max(work.macs, 1))
    return scheduled(work, target, Knobs(knobs))


@functools.cache
def register() -> None:
    """Register a template for every operator that has a TE schedule."""
    for operator in TE:
        autotvm.template(f"tvm_mobilenet.{operator}")(_template)


def task_of(work: Workload, target: TargetSpec) -> Any:
    """Return AutoTVM's task of a workload."""
    import tvm

    register()
    texts = (work.text, json.dumps(target.to_dict()))
    kind = tvm.target.Target(target.tvm_dict())
    return autotvm.task.create(f"tvm_mobilenet.{work.operator}", args=texts, target=kind)


class AutoTvmSearch:
    """See :class:`~tvm_mobilenet.tuning.tvm_search.TvmSearch`."""

    def __init__(self, work: Workload, target: TargetSpec, seed: int) -> None:
        import numpy as np

        np.random.seed(seed % (1 << 31))
        self.task = task_of(work, target)
        found, values = _space(work, target)
        self._answers = {tuple(_encoded(one, values).values()): one for one in found}
        self._names = list(_encoded(found[0], values))
        self._values = values
        space = self.task.config_space
        self._indices = {
            self._key(space.get(index)): index
            for index in range(space.range_length)
            if space.is_index_valid(index)
        }
        # Ranks compare across xgboost's versions; "rank" is gone from version 2.
        self._tuner = XGBTuner(
            self.task,
            plan_size=_PLAN,
            feature_type="knob",
            loss_type="rank-binary",
            num_threads=1,
            optimizer=SimulatedAnnealingOptimizer(self.task, **_ANNEALING),
        )
        self._known: set[int] = set()

    def learn(self, tried: Sequence[tuple[Answers, float | None]]) -> None:
        """Pass on what became of candidates, those of earlier runs too."""
        inputs, results = [], []
        for knobs, seconds in tried:
            index = self._index(knobs)
            if index is None or index in self._known:
                continue
            self._known.add(index)
            inputs.append(self.measured(index))
            results.append(result(seconds))
        if inputs:
            self._tuner.update(inputs, results)

    def propose(self) -> list[Answers]:
        """Return knobs to try; none where the space is searched."""
        if not self._tuner.has_next():
            return []
        left = len(self._indices) - len(self._tuner.visited)
        batch = self._tuner.next_batch(min(_PLAN, left))
        return [dict(self._answers[self._key(config)]) for config in batch]

    def line(self, knobs: Answers, seconds: float | None, timestamp: float) -> str | None:
        """Return a trial as a line of AutoTVM's log; None if the knobs are of another version."""
        index = self._index(knobs)
        if index is None:
            return None
        text: str = autotvm.record.encode(self.measured(index), result(seconds, timestamp))
        return text

    def measured(self, index: int) -> Any:
        """Return AutoTVM's name for a candidate."""
        config = self.task.config_space.get(index)
        return autotvm.measure.MeasureInput(self.task.target, self.task, config)

    def _key(self, config: Any) -> tuple[int, ...]:
        return tuple(config[name].val for name in self._names)

    def _index(self, knobs: Mapping[str, Any]) -> int | None:
        if set(knobs) != set(self._values):
            return None
        return self._indices.get(tuple(_encoded(knobs, self._values).values()))


def result(seconds: float | None, timestamp: float | None = None) -> Any:
    """Return AutoTVM's description of a measurement; of a failure without seconds."""
    wrong = seconds is None
    costs = (1e9,) if seconds is None else (seconds,)
    error = autotvm.measure.MeasureErrorNo.RUNTIME_DEVICE if wrong else 0
    return autotvm.measure.MeasureResult(costs, error, costs[0], timestamp or time.time())
