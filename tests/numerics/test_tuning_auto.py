"""The tuner `auto`: MetaSchedule proposes, our workers build, checks, times and remembers."""

from __future__ import annotations

import dataclasses
import json
import shutil
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from kernels import workload
from tvm_mobilenet.schedules.knobs import TRACE, KnobError, Knobs
from tvm_mobilenet.schedules.tensorir.rules import schedule

import tvm_mobilenet as tm
from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.machine import host
from tvm_mobilenet.tuning import metaschedule
from tvm_mobilenet.tuning.finals import settle
from tvm_mobilenet.tuning.measurers import find_measurer
from tvm_mobilenet.tuning.records import Record, target_key
from tvm_mobilenet.tuning.space import identity
from tvm_mobilenet.tuning.store import HISTORY, Store
from tvm_mobilenet.tuning.task import Settings
from tvm_mobilenet.tuning.trials import Trial, read_history
from tvm_mobilenet.tuning.tuner import Tuner
from tvm_mobilenet.tuning.worker_pool import LostError

TARGET = dataclasses.replace(host(), cores=1)
MODEL = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)
SMALL = workload("pointwise", (256, 256), (1, 1), TARGET.lanes, activation="relu6")
"""A kernel of that network."""


def tuned(
    folder: Path, trials: int, spoil: Any = lambda _: None, tuner_name: str = "auto"
) -> Tuner:
    with Store(folder).writing() as writer:
        history = read_history(folder / HISTORY, target_key(TARGET), 1)
        settings = Settings(trials, tuner=tuner_name, seed=3)
        measurer = find_measurer(TARGET, settings, None)
        tuner = Tuner({SMALL.key: (SMALL, 1)}, TARGET, history, writer, settings, measurer)
        spoil(tuner)
        tuner.run()
        settle(tuner, history.finals)
    return tuner


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six trials: the rule's knobs, and five traces."""
    folder = tmp_path_factory.mktemp("auto")
    tuned(folder, 3)
    tuned(folder, 6)
    return folder


def trials_of(folder: Path) -> tuple[Trial, ...]:
    return read_history(folder / HISTORY, target_key(TARGET), 1).trials


def test_candidates_are_checked_timed_remembered_and_never_tried_twice(logs: Path) -> None:
    trials = trials_of(logs)
    assert [trial.tuner for trial in trials] == ["auto"] * 6
    assert [TRACE in trial.knobs for trial in trials] == [False] + [True] * 5
    assert max(Counter(identity(trial.knobs) for trial in trials).values()) == 1
    ran = [trial for trial in trials if trial.outcome == "ok"]
    assert len(ran) >= 4
    assert all(trial.error is not None and trial.error < 1e-5 for trial in ran)
    assert len({trial.seconds for trial in ran}) == len(ran)
    kept = Store(logs).find(TARGET).kernels[SMALL.key]
    assert identity(kept.knobs or {}) in {identity(trial.knobs) for trial in ran}
    # The same budget again: nothing is tried, and nobody is asked.
    before = (logs / HISTORY).read_bytes()
    assert tuned(logs, 6).status().fresh == 0
    assert (logs / HISTORY).read_bytes() == before


def test_the_other_tuner_has_a_budget_of_its_own_and_knows_what_was_tried(
    logs: Path, tmp_path: Path
) -> None:
    shutil.copy(logs / HISTORY, tmp_path)
    assert tuned(tmp_path, 2, tuner_name="template").status().fresh == 2
    trials = trials_of(tmp_path)
    assert [trial.tuner for trial in trials] == ["auto"] * 6 + ["template"] * 2
    assert not any(TRACE in trial.knobs for trial in trials[6:])
    assert max(Counter(identity(trial.knobs) for trial in trials).values()) == 1


def test_what_metaschedule_does_not_survive_ends_the_run_and_says_so(tmp_path: Path) -> None:
    asked = []

    def spoil(tuner: Tuner) -> None:
        def lost(request: dict[str, Any]) -> dict[str, Any]:
            asked.append(request)
            raise LostError("hung", "no answer in 300 s")

        tuner.tasks[SMALL.key].proposer.ask = lost  # type: ignore[attr-defined]

    tuner = tuned(tmp_path, 5, spoil)
    assert tuner.status().trials == 1  # the rule's own
    assert 1 < len(asked) < 9
    assert tuner.problems[0] == f"{SMALL.key}: MetaSchedule's search hung: no answer in 300 s"
    json.dumps(asked)


def test_what_earlier_runs_measured_trains_the_model_of_a_later_one(
    logs: Path, tmp_path: Path
) -> None:
    shutil.copy(logs / HISTORY, tmp_path)
    asked = []

    def spoil(tuner: Tuner) -> None:
        def noted(request: dict[str, Any]) -> dict[str, Any]:
            asked.append(request)
            return {"candidates": []}

        tuner.tasks[SMALL.key].proposer.ask = noted  # type: ignore[attr-defined]

    tuned(tmp_path, 7, spoil)
    known = [trial for trial in trials_of(logs) if TRACE in trial.knobs]
    tried = asked[0]["tried"]
    assert [knobs for knobs, _ in tried if TRACE in knobs] == [trial.knobs for trial in known]
    assert [s is None for _, s in tried] == [t.seconds is None for t in trials_of(logs)]
    search = metaschedule.MetaScheduleSearch(SMALL, TARGET, 0)
    search.learn(tried)
    search.learn(tried)
    assert metaschedule._model().data_size == len(known)


def recorded(trial: Trial, **changes: Any) -> Record:
    facts = {
        "kind": "kernel", "operator": trial.operator, "workload": trial.workload,
        "target": trial.target, "threads": 1, "knobs": trial.knobs, "seconds": 1e-9,
        "repeats": 9, "spread": 0.0, "machine": "m", "date": "2026-01-01", "verified": True,
        "error": 0.0, "tvm": trial.tvm,
    }  # fmt: skip
    return Record(**{**facts, **changes})  # type: ignore[arg-type]


def test_a_trace_is_replayed_by_compile_and_one_that_cannot_be_is_named(
    logs: Path, tmp_path: Path
) -> None:
    trial = next(t for t in trials_of(logs) if t.outcome == "ok" and TRACE in t.knobs)
    with Store(tmp_path / "good").writing() as writer:
        writer.keep(recorded(trial))
    compiled = tm.compile(MODEL, target=TARGET, records=tmp_path / "good", fusion="none")
    calls = [call for call in compiled.manifest["calls"] if call["kernel"] == SMALL.key]
    assert {(call["source"], call["schedule"]) for call in calls} == {("record", "metaschedule")}
    assert calls[0]["knobs"] == trial.knobs
    assert calls[0]["output"]["layout"] == "NCHWc"
    assert compiled.manifest["verification"]["relative"] < 1e-5
    cut, other, old = [
        call["kernel"]
        for call in compiled.manifest["calls"]
        if call["operator"] == "pointwise" and call["kernel"] != SMALL.key
    ][:3]
    trace = str(trial.knobs[TRACE])
    with Store(tmp_path / "bad").writing() as writer:
        writer.keep(recorded(trial, workload=cut, knobs={TRACE: trace[:-9]}))
        strange = trace.replace('"accumulate"', '"nobody"')
        writer.keep(recorded(trial, workload=other, knobs={TRACE: strange}))
        writer.keep(recorded(trial, workload=old, tvm="0.26.0"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ruled = tm.compile(
            MODEL, target=TARGET, records=tmp_path / "bad", fusion="none", verify=False
        )
    told = "\n".join(str(warning.message) for warning in caught)
    assert f"the record of {cut}: its trace cannot be replayed" in told
    assert f"the record of {other}: its trace cannot be replayed" in told
    assert f"the record of {old} is a trace of TVM 0.26.0, not" in told
    assert {call["source"] for call in ruled.manifest["calls"]} == {"rule"}


def test_a_trace_answers_everything() -> None:
    with pytest.raises(KnobError, match="no knob 'pixels'"):
        schedule(prim_func(SMALL), TARGET, Knobs({TRACE: "[[],[]]", "pixels": 7}))
    with pytest.raises(KnobError, match="cannot be replayed"):
        schedule(prim_func(SMALL), TARGET, Knobs({TRACE: "1"}))
