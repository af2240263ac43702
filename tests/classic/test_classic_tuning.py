"""AutoTVM and Ansor over our definitions: what they propose is right, kept, resumed and used."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kernels import check_kernel, workload
from parts import patience
from tvm import autotvm
from tvm.auto_scheduler import load_records
from tvm_mobilenet.schedules.knobs import TRACE, KnobError, Knobs

import tvm_mobilenet as tm
from tvm_mobilenet.emit.relay import ansor
from tvm_mobilenet.emit.relay import autotvm as templates
from tvm_mobilenet.emit.relay.kernels import scheduled
from tvm_mobilenet.errors import TuningError
from tvm_mobilenet.machine import PRESETS, host
from tvm_mobilenet.tuning.finals import settle
from tvm_mobilenet.tuning.measurers import find_measurer
from tvm_mobilenet.tuning.own_logs import LOGS, keep_own_log
from tvm_mobilenet.tuning.records import Record, target_key
from tvm_mobilenet.tuning.runs import RUNS, read_runs
from tvm_mobilenet.tuning.store import HISTORY, Found, Store, records_for
from tvm_mobilenet.tuning.task import Settings
from tvm_mobilenet.tuning.trials import read_history
from tvm_mobilenet.tuning.tuner import Tuner
from tvm_mobilenet.tuning.works import workloads

TARGET = dataclasses.replace(host(), cores=1)
SMALL = workload("pointwise", (32, 32), (7, 7), TARGET.lanes, activation="relu6")


def patient(trials: int, tuner: str) -> Settings:
    """Limits that a busy machine keeps, too: workers load TVM first."""
    limits = {"build_limit": patience(30.0), "measure_limit": patience(20.0)}
    return Settings(trials, tuner=tuner, **limits)


@contextmanager
def started(folder: Path, settings: Settings) -> Iterator[Any]:
    """A tuner of one small kernel."""
    with Store(folder).writing() as writer:
        history = read_history(folder / HISTORY, target_key(TARGET), 1)
        measurer = find_measurer(TARGET, settings, None)
        yield Tuner({SMALL.key: (SMALL, 1)}, TARGET, history, writer, settings, measurer)


def test_a_template_has_every_answer_of_its_schedule_and_no_other() -> None:
    work = workload("pointwise", (32, 64), (14, 14), 16)
    found = list(templates.answers(work, PRESETS["x86-64-v4"]))
    texts = [json.dumps(one) for one in found]
    assert len(set(texts)) == len(found) > 50
    assert {one["pixels"] for one in found} == set(range(1, 15))
    assert all(one["chunks"] == 1 for one in found if 196 % int(one["pixels"]))
    task = templates.task_of(work, PRESETS["x86-64-v4"])
    assert task.name == "tvm_mobilenet.pointwise"
    assert len(task.config_space) == len(found) < task.config_space.range_length
    names = ["vectors", "pixels", "chunks", "threads_one", "prefetch_none", "prefetch_weights"]
    assert list(task.config_space.space_map) == names
    # No configuration at all is the rule's.
    with task.target:
        by_rule, _ = task.func(*task.args)
    knobs = Knobs()
    scheduled(work, PRESETS["x86-64-v4"], knobs)
    assert str(by_rule.stages) != ""
    assert dict(knobs.chosen) in found


@pytest.mark.parametrize("tuner", ["autotvm", "ansor"])
def test_tuned_resumed_and_in_its_own_format(tuner: str, tmp_path: Path) -> None:
    with started(tmp_path, patient(6, tuner)) as run:
        run.run()
        assert run.done == 6
        _, problems = settle(run, {})
        keep_own_log(run, tuner, tmp_path)
        assert not problems
        assert not run.problems
    trials = read_history(tmp_path / HISTORY, target_key(TARGET), 1).trials
    assert [trial.outcome for trial in trials] == ["ok"] * 6
    assert (TRACE in trials[-1].knobs) == (tuner == "ansor")
    path = tmp_path / LOGS[tuner]
    if tuner == "autotvm":
        logged = list(autotvm.record.load_from_file(str(path)))
        assert len(logged) == 6
        best = autotvm.apply_history_best(str(path))
        task = templates.task_of(SMALL, TARGET)
        with best, task.target:
            assert not best.query(task.target, task.workload).is_fallback
    else:
        logged = list(load_records(str(path)))
        assert len(logged) == 5  # the first trial is the rule's knobs
    times = sorted(float(result.costs[0]) for _, result in logged)
    # Ansor's log keeps six digits.
    least = min(trial.seconds for trial in trials if trial.seconds)
    assert times[0] >= least * (1 - 1e-5)
    # The log says as much as our records: compile takes it too.
    with path.open("ab") as log:
        log.write(b"half a line\n")
    found = records_for(TARGET, path)
    assert found.kernels[SMALL.key].seconds == times[0]
    knobs = found.knobs_for(SMALL.key)
    assert knobs in [trial.knobs for trial in trials]
    scheduled(SMALL, TARGET, Knobs(knobs))
    assert "no trial of ours" in found.problems[0]
    assert not records_for(PRESETS["x86-64-v4"], path).kernels
    with started(tmp_path, patient(9, tuner)) as run:
        run.run()
        assert run.status().fresh == 3
    again = read_history(tmp_path / HISTORY, target_key(TARGET), 1).trials
    assert again[:6] == trials
    assert len({json.dumps(dict(trial.knobs)) for trial in again}) == 9


def test_ansors_steps_are_right_and_foreign_ones_refused() -> None:
    search = ansor.AnsorSearch(SMALL, TARGET, 1)
    tried = search.propose()
    from test_te_schedules import built

    for knobs in itertools.islice(tried, 3):
        check_kernel(SMALL, built([SMALL], TARGET, lambda _, k=knobs: Knobs(k))[SMALL.key])
    other = workload("depthwise", (32, 32), (7, 7), TARGET.lanes, kernel=3, padding=(1, 1, 1, 1))
    with pytest.raises(KnobError, match="do not fit"):
        scheduled(other, TARGET, Knobs({TRACE: '[[], [["SP", 77, 0]]]'}))
    search.learn([(knobs, 1e-5) for knobs in tried])
    known = {knobs[TRACE] for knobs in tried}
    assert known.isdisjoint(knobs[TRACE] for knobs in search.propose())


def test_which_layers_share_a_kernel_is_as_asked_for_or_recorded(tmp_path: Path) -> None:
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)

    def tuned(name: str, **options: Any) -> set[str]:
        """Kernels that a run would tune, of which it has no trial left to try."""
        folder = tmp_path / name
        tm.tune(model, trials=0, target=TARGET, log_dir=folder, **options)
        (network,) = read_runs(folder / RUNS).networks.values()
        return set(network.parts)

    def shared(keys: set[str]) -> set[str]:
        return {key for key in keys if key.startswith("separable")}

    every = shared(tuned("all", fusion="all", records=False))
    assert every
    assert not shared(tuned("none", fusion="none", records=False))
    by_rule = shared(tuned("auto", records=False))
    # Records say the opposite of the rule, each about one kernel.
    turned = {key: key not in by_rule for key in sorted(every)}
    with Store(tmp_path / "records").writing() as writer:
        for key, fused in turned.items():
            writer.keep(
                Record(
                    kind="fusion", operator="separable", workload=key, target=target_key(TARGET),
                    threads=1, fused=fused, seconds=1e-6, repeats=9, spread=0.0, machine="m",
                    date="2026-01-01", verified=True, error=0.0, tvm="0.19.0",
                )
            )  # fmt: skip
    assert shared(tuned("recorded", records=tmp_path / "records")) == every - by_rule
    # The folder can be compiled with: what was recorded about fusion is in it, too.
    copied = Store(tmp_path / "recorded").find(TARGET).fusions
    assert {key: record.fused for key, record in copied.items()} == turned


def test_a_network_is_compiled_with_what_autotvm_found(tmp_path: Path) -> None:
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)
    works, parts = workloads(model, TARGET, "auto", Found(), {})
    assert sum(part.calls for part in parts.values()) == sum(calls for _, calls in works.values())
    key = max(works, key=lambda key: works[key][0].macs * works[key][1])
    with Store(tmp_path).writing() as writer:
        history = read_history(tmp_path / HISTORY, target_key(TARGET), 1)
        settings = patient(3, "autotvm")
        measurer = find_measurer(TARGET, settings, None)
        run = Tuner({key: works[key]}, TARGET, history, writer, settings, measurer)
        with run.ready():
            run.run()
            settle(run, {})
    made = tm.compile(model, target=TARGET, records=tmp_path, seed=3)
    sources = [call.get("source") for call in made.manifest["calls"]]
    assert sources.count("record") == works[key][1]
    with pytest.raises(TuningError, match="no tuner 'auto' on the relay stack"):
        tm.tune(model, trials=1, target=TARGET, log_dir=tmp_path, tuner="auto")
