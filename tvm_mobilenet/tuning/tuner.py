"""A tuning run: propose, build, measure, remember; again and again, until the budget is spent."""

from __future__ import annotations

import dataclasses
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from tvm_mobilenet.operators.footprint import weight_bytes
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.schedules.knobs import TRACE, described
from tvm_mobilenet.target import TargetSpec
from tvm_mobilenet.tuning.auto import AutoExplorer
from tvm_mobilenet.tuning.boards import Place
from tvm_mobilenet.tuning.generation import tvm_version
from tvm_mobilenet.tuning.gpu_timing import machine_of
from tvm_mobilenet.tuning.model import CostModel, Example
from tvm_mobilenet.tuning.records import target_key, threads_of
from tvm_mobilenet.tuning.report import Status
from tvm_mobilenet.tuning.search import Explorer, Prospect, share_out
from tvm_mobilenet.tuning.space import Answers, Space, identity
from tvm_mobilenet.tuning.store import Writer
from tvm_mobilenet.tuning.task import Settings, Task
from tvm_mobilenet.tuning.trials import History, Outcome, Trial, comparable, control_of
from tvm_mobilenet.tuning.workshop import Job, Workshop

_log = logging.getLogger(__name__)

ROUND = 12
"""Trials between two looks at who should get the next ones."""

_COLD_L2 = 4
_COLD_LEAST = 1 << 22


class Tuner:
    """Tunes the workloads of one network; from within the store's lock.

    Parameters
    ----------
    works : mapping of str to (Workload, int)
        By key: what is called, and how often.
    target : TargetSpec
        Of what measures.
    history : History
        What is known already.
    writer : Writer
    settings : Settings
    tell : callable
        Told the Status after every trial, and when it has to wait.
    place : Place, optional
        Where candidates are measured, if not here.

    Attributes
    ----------
    target : TargetSpec
    notes : list of str
        What else went wrong, each a sentence.
    tasks : dict of str to Task
        By key.
    writer : Writer
    shop : Workshop
    """

    def __init__(  # noqa: PLR0917  what a run is made of
        self,
        works: Mapping[str, tuple[Workload, int]],
        target: TargetSpec,
        history: History,
        writer: Writer,
        settings: Settings,
        tell: Callable[[Status], object] = lambda _: None,
        place: Place | None = None,
    ) -> None:
        self.writer = writer
        self.target, self._settings, self._tell = target, settings, tell
        self.notes: list[str] = []
        self._trials = list(history.trials)
        rng = random.Random(settings.seed + len(self._trials))
        self.tasks: dict[str, Task] = {}
        for key, (work, calls) in works.items():
            space = Space(work, target)
            explorer: Explorer | AutoExplorer
            if settings.tuner != "template":
                seed = settings.seed + len(self._trials)
                explorer = AutoExplorer(space, target, seed, settings.tuner)
            else:
                explorer = Explorer(space, rng)
            own = [trial for trial in self._trials if trial.workload == key]
            explorer.known.update(identity(trial.knobs) for trial in own)
            self.tasks[key] = Task(work, calls, explorer, own)
        weights = sum(weight_bytes(task.work) * task.calls for task in self.tasks.values())
        here = target.l2_bytes * target.cores if target.gpu is None else target.gpu.l2_bytes
        cache = _COLD_L2 * here or _COLD_LEAST
        self.shop = Workshop(
            target,
            settings,
            min(weights, cache),
            place,
            lambda why: self._tell(dataclasses.replace(self.status(), waiting=why)),
        )
        self._fresh = 0
        self._begin = time.monotonic()
        self._facts: dict[str, Any] = {
            "target": target_key(target),
            "threads": threads_of(target),
            "machine": place.machine if place else machine_of(target),
            "tvm": tvm_version(),
        }

    def run(self) -> None:
        """Try candidates until the budget is spent or nothing new can be tried."""
        with self.shop.ready():
            for task in self.tasks.values():
                if isinstance(task.explorer, AutoExplorer):
                    task.explorer.ask = self.shop.traces
            while (left := self._settings.trials - self.done) > 0:
                batch = self._proposals(min(left, ROUND))
                if not batch:
                    break
                self._try(batch)

    @property
    def done(self) -> int:
        """Finished trials of this network's workloads, by this tuner."""
        own = self._settings.tuner
        return sum(t.tuner == own for task in self.tasks.values() for t in task.trials)

    @property
    def problems(self) -> list[str]:
        """Why somebody had nothing to propose, each a sentence; and :attr:`notes`."""
        return [
            *self.notes,
            *(
                f"{key}: {problem}"
                for key, task in self.tasks.items()
                if isinstance(task.explorer, AutoExplorer)
                for problem in task.explorer.problems
            ),
        ]

    @property
    def control(self) -> float:
        """Usual time of the control kernel, seconds."""
        return control_of(self._trials)

    def status(self, workload: str = "") -> Status:
        """Return how far the run is."""
        control = self.control
        start = now = 0.0
        if all(task.trials for task in self.tasks.values()):
            for task in self.tasks.values():
                ranked, rule = task.ranked(control), task.rule
                if ranked and rule is not None:
                    start += task.calls * (comparable(rule, control) or 0.0)
                    now += task.calls * ranked[0][0]
        failures = Counter[str](
            trial.outcome
            for task in self.tasks.values()
            for trial in task.trials
            if trial.outcome != "ok"
        )
        bound = sum(task.calls * self._bound(task.work) for task in self.tasks.values())
        return Status(
            self.done,
            self._settings.trials,
            self._fresh,
            start,
            now,
            bound,
            dict(failures),
            time.monotonic() - self._begin,
            self.shop.building_s,
            self.shop.measuring_s,
            workload,
            boards=self.shop.boards,
        )

    def _bound(self, work: Workload) -> float:
        """Return the time of a workload's multiply-adds at the measured peak."""
        return 2 * work.macs * self.control / self.shop.operations

    def _proposals(self, count: int) -> list[tuple[Task, Answers]]:
        control = self.control
        open_tasks = {key: task for key, task in self.tasks.items() if not task.explorer.exhausted}
        prospects = {
            key: Prospect(
                task.calls,
                self._bound(task.work),
                tuple(comparable(trial, control) or float("inf") for trial in task.trials),
            )
            for key, task in open_tasks.items()
        }
        models: dict[str, CostModel] = {}
        batch: list[tuple[Task, Answers]] = []
        for key, share in share_out(count, prospects).items():
            task = self.tasks[key]
            operator = task.work.operator
            if isinstance(task.explorer, AutoExplorer):
                tried = [(trial.knobs, comparable(trial, control)) for trial in task.trials]
                found = task.explorer.propose(share, tried)
            else:
                if operator not in models:
                    models[operator] = CostModel(self._examples(operator))
                ranked = [t.knobs for _, t in task.ranked(control) if TRACE not in t.knobs]
                found = task.explorer.propose(share, ranked, models[operator])
            batch.extend((task, knobs) for knobs in found)
        if not batch and len(open_tasks) > sum(t.explorer.exhausted for t in open_tasks.values()):
            return self._proposals(count)
        return batch

    def _examples(self, operator: str) -> list[Example]:
        """Return what was measured of an operator, in times of each workload's first trial."""
        control = self.control
        first: dict[str, float] = {}
        examples: list[Example] = []
        for trial in self._trials:
            if trial.operator != operator or TRACE in trial.knobs:
                continue
            seconds = comparable(trial, control)
            if seconds is not None:
                first.setdefault(trial.workload, seconds)
            if trial.workload in first:
                ratio = None if seconds is None else seconds / first[trial.workload]
                examples.append((trial.workload, trial.knobs, ratio))
        return examples

    def _try(self, batch: Sequence[tuple[Task, Answers]]) -> None:
        """Build candidates all at once, then measure them."""
        built: list[tuple[Task, Answers, str]] = []
        for number, answer in self.shop.build([(task.work, knobs) for task, knobs in batch]):
            task, knobs = batch[number]
            if isinstance(answer, str):
                built.append((task, knobs, answer))
            else:
                self._finish(task, knobs, *answer)
        built.sort(key=lambda one: one[0].work.key)
        jobs: list[Job] = []
        for task, _, path in built:
            best = task.ranked(self.control)[:1]
            jobs.append((task.work, path, best[0][0] if best else None))
        for number, found in self.shop.measure(jobs):
            task, knobs, path = built[number]
            os.unlink(path)
            self._finish(task, knobs, found.pop("outcome"), found.pop("note", ""), **found)

    def _finish(
        self, task: Task, knobs: Answers, outcome: Outcome, note: str = "", **found: Any
    ) -> None:
        """Remember a trial: on the disk when this returns."""
        _log.info("%s %s: %s %s", task.work.key, described(knobs), outcome, note)
        trial = Trial(
            operator=task.work.operator,
            workload=task.work.key,
            tuner=self._settings.tuner,
            knobs=knobs,
            outcome=outcome,
            note=note,
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            **self._facts,
            **found,
        )
        self.writer.append(trial)
        task.trials.append(trial)
        self._trials.append(trial)
        self._fresh += 1
        self._tell(self.status(task.work.key))
