"""A tuning run: propose, build, measure, remember; again and again, until the budget is spent."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from tvm_mobilenet.bench.peak import times_float32
from tvm_mobilenet.common.scratch import scratch
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.footprint import weight_bytes
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.schedules.knobs import TRACE, described
from tvm_mobilenet.tuning.builder import Builder
from tvm_mobilenet.tuning.cost_model import CostModel, Example
from tvm_mobilenet.tuning.generation import tvm_version
from tvm_mobilenet.tuning.measurer import Measurer
from tvm_mobilenet.tuning.proposer import Seen
from tvm_mobilenet.tuning.proposers import proposers
from tvm_mobilenet.tuning.records import target_key, threads_of
from tvm_mobilenet.tuning.sharing import Prospect, share_out
from tvm_mobilenet.tuning.space import Answers, Space, identity
from tvm_mobilenet.tuning.status import Status
from tvm_mobilenet.tuning.store import Writer
from tvm_mobilenet.tuning.task import Settings, Task
from tvm_mobilenet.tuning.trials import History, Outcome, Trial, comparable, control_of

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
        What measures.
    history : History
        What is known already.
    writer : Writer
        To the folder that the history was read from.
    settings : Settings
        How the run is done, and who proposes.
    measurer : Measurer
        Who measures.
    tell : callable
        Told the Status after every trial, and when it has to wait.

    Attributes
    ----------
    notes : list of str
        What else went wrong, each a sentence.
    tasks : dict of str to Task
        By key.
    builder : Builder
        Builds its candidates.
    """

    def __init__(  # noqa: PLR0917  what a run is made of
        self,
        works: Mapping[str, tuple[Workload, int]],
        target: TargetSpec,
        history: History,
        writer: Writer,
        settings: Settings,
        measurer: Measurer,
        tell: Callable[[Status], object] = lambda _: None,
    ) -> None:
        self.target, self.writer, self.measurer = target, writer, measurer
        self.builder = Builder(target, settings, measurer.emulated)
        self.notes: list[str] = []
        self._settings, self._tell = settings, tell
        self._trials = list(history.trials)
        self._open, self._fresh, self._begin = False, 0, time.monotonic()
        seed = settings.seed + len(self._trials)
        proposer = proposers(settings.tuner, target, seed, self.builder.ask)
        self.tasks: dict[str, Task] = {}
        for key, (work, calls) in works.items():
            own = [trial for trial in self._trials if trial.workload == key]
            self.tasks[key] = task = Task(work, calls, proposer(Space(work, target)), own)
            task.proposer.known.update(identity(trial.knobs) for trial in own)
        weights = sum(weight_bytes(task.work) * task.calls for task in self.tasks.values())
        cache = target.l2_bytes * target.cores if target.gpu is None else target.gpu.l2_bytes
        self._cold_bytes = min(weights, _COLD_L2 * cache or _COLD_LEAST)
        self._facts: dict[str, Any] = {
            "target": target_key(target),
            "threads": threads_of(target),
            "machine": measurer.machine,
            "tvm": tvm_version(),
        }

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Have what builds and measures; within another one this does nothing."""
        if self._open:
            yield
            return
        with scratch() as folder, self.builder.open(folder), self.measurer.open(folder, self._wait):
            self._open = True
            try:
                yield
            finally:
                self._open = False

    def run(self) -> None:
        """Try candidates until the budget is spent or nothing new can be tried."""
        with self.ready():
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
    def trials(self) -> tuple[Trial, ...]:
        """All that is known of the target, what this run has measured included."""
        return tuple(self._trials)

    @property
    def problems(self) -> list[str]:
        """Why somebody had nothing to propose, each a sentence; and :attr:`notes`."""
        said = [(key, problem) for key, t in self.tasks.items() for problem in t.proposer.problems]
        return [*self.notes, *(f"{key}: {problem}" for key, problem in said)]

    @property
    def control(self) -> float:
        """Usual time of the control kernel, seconds."""
        return control_of(self._trials)

    def compare(
        self, work: Workload, paths: Sequence[str], rounds: int, limit_s: float
    ) -> list[list[float]]:
        """Let candidates of a workload run in turns; return their seconds by round."""
        request = self._request(work, do="compare", paths=list(paths), rounds=rounds)
        return self.measurer.compare(request, limit_s)

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
            self.builder.building_s,
            self.measurer.measuring_s,
            workload,
            boards=self.measurer.boards,
        )

    def _bound(self, work: Workload) -> float:
        """Return the time of a workload's multiply-adds at the measured peak."""
        faster = times_float32(self.target, work.dtype) if self.target.gpu is None else 1.0
        return 2 * work.macs * self.control / self.builder.operations / faster

    def _wait(self, why: str) -> None:
        self._tell(dataclasses.replace(self.status(), waiting=why))

    def _proposals(self, count: int) -> list[tuple[Task, Answers]]:
        """Return candidates of the workloads whose turn it is; none where nobody has any."""
        control = self.control
        model = functools.cache(lambda operator: CostModel(self._examples(operator)))
        batch: list[tuple[Task, Answers]] = []
        while left := [task for task in self.tasks.values() if not task.proposer.exhausted]:
            prospects = {task.work.key: self._prospect(task) for task in left}
            for key, share in share_out(count, prospects).items():
                task = self.tasks[key]
                tried = [(trial.knobs, comparable(trial, control)) for trial in task.trials]
                seen = Seen(tried, functools.partial(model, task.work.operator))
                batch.extend((task, knobs) for knobs in task.proposer.propose(share, seen))
            if batch:
                break
        return batch

    def _prospect(self, task: Task) -> Prospect:
        control = self.control
        times = (comparable(trial, control) or float("inf") for trial in task.trials)
        return Prospect(task.calls, self._bound(task.work), tuple(times))

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
        for number, answer in self.builder.build([(task.work, knobs) for task, knobs in batch]):
            task, knobs = batch[number]
            if isinstance(answer, str):
                built.append((task, knobs, answer))
            else:
                self._finish(task, knobs, *answer)
        built.sort(key=lambda one: one[0].work.key)
        requests = []
        for task, _, path in built:
            best = next((seconds for seconds, _ in task.ranked(self.control)), None)
            requests.append(self._request(task.work, do="measure", path=path, best=best))
        for number, found in self.measurer.measure(requests):
            task, knobs, path = built[number]
            os.unlink(path)
            self._finish(task, knobs, found.pop("outcome"), found.pop("note", ""), **found)

    def _request(self, work: Workload, **request: Any) -> dict[str, Any]:
        """Return what a worker is asked about candidates of a workload."""
        return {
            "work": dataclasses.asdict(work),
            "cold_bytes": self._cold_bytes,
            "control": self.builder.control,
            "threads": self.target.cores,
            "lanes": self.target.lanes,
            **({} if self.target.gpu is None else {"target": self.target.to_dict()}),
            **request,
        }

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
