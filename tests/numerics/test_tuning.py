"""Tuning on this machine: faults cost one trial each, nothing is lost, records are used."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faults
import pytest
from kernels import workload
from parts import patience

import tvm_mobilenet as tm
from tvm_mobilenet.errors import DeviceError, RecordsBusyError, TuningError
from tvm_mobilenet.machine import host
from tvm_mobilenet.tuning.finals import settle
from tvm_mobilenet.tuning.measurers import find_measurer
from tvm_mobilenet.tuning.records import Record, target_key
from tvm_mobilenet.tuning.space import Space, identity
from tvm_mobilenet.tuning.store import HISTORY, Store
from tvm_mobilenet.tuning.task import Settings
from tvm_mobilenet.tuning.template import TemplateProposer
from tvm_mobilenet.tuning.trials import History, read_history
from tvm_mobilenet.tuning.tuner import Tuner
from tvm_mobilenet.tuning.worker_pool import LostError, WorkerPool

TARGET = dataclasses.replace(host(), cores=1)
MODEL = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)
FAULTY = (sys.executable, str(Path(faults.__file__)))
NOTHING = History((), {}, ())
SMALL = workload("pointwise", (32, 32), (7, 7), TARGET.lanes)


@contextmanager
def started(folder: Path, settings: Settings, **options: Any) -> Iterator[Tuner]:
    """A tuner of one small kernel."""
    with Store(folder).writing() as writer:
        history = read_history(folder / HISTORY, target_key(TARGET), 1)
        measurer = find_measurer(TARGET, settings, None)
        works = {SMALL.key: (SMALL, 1)}
        yield Tuner(works, TARGET, history, writer, settings, measurer, **options)


def test_each_fault_costs_its_trial_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.install(monkeypatch.setattr)
    rule = Space(SMALL, TARGET).rule
    assert rule["fault"] == "none"
    batch = [{**rule, "fault": fault} for fault in faults.FAULTS]
    batch.append({**rule, "pixels": 1})
    told: list[Any] = []
    limit = patience(4.0)
    settings = Settings(len(batch), measure_limit=limit, program=FAULTY)
    with monkeypatch.context() as patched:
        propose: Any = lambda *_: batch  # noqa: E731
        patched.setattr(TemplateProposer, "propose", propose)
        with started(tmp_path, settings, tell=told.append) as tuner:
            tuner.run()
    trials = read_history(tmp_path / HISTORY, target_key(TARGET), 1).trials
    outcomes = {str(t.knobs["fault"]): t for t in trials if t.knobs["pixels"] != 1}
    assert {fault: trial.outcome for fault, trial in outcomes.items()} == {
        "none": "ok", "unbuildable": "unbuildable", "forever": "hung", "abort": "crashed",
        "far": "crashed", "beside": "wrong", "nan": "nan", "wrong": "wrong",
    }  # fmt: skip
    assert "no code for this" in outcomes["unbuildable"].note
    assert f"no answer in {limit:g} s" in outcomes["forever"].note
    assert "Aborted" in outcomes["abort"].note
    assert "Segmentation fault" in outcomes["far"].note
    assert "outside its output" in outcomes["beside"].note
    assert "1 of 1568 elements are wrong" in outcomes["wrong"].note
    # Those around the faults were measured all the same.
    assert [t.outcome for t in trials if t.knobs["pixels"] == 1] == ["ok"]
    last = told[-1]
    assert last.trials == len(batch)
    kinds = {"unbuildable": 1, "hung": 1, "crashed": 2, "wrong": 2, "nan": 1}
    assert last.failures == kinds
    # A later run counts them, knows them, and proposes none again.
    settings = dataclasses.replace(settings, trials=len(batch) + 14)
    with started(tmp_path, settings) as tuner:
        task = tuner.tasks[SMALL.key]
        assert task.proposer.known >= {identity(knobs) for knobs in batch}
        tuner.run()
    trials = read_history(tmp_path / HISTORY, target_key(TARGET), 1).trials
    assert len(trials) == len(batch) + 14
    assert max(Counter(identity(trial.knobs) for trial in trials).values()) == 1


def test_a_wrong_or_dead_candidate_never_becomes_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.install(monkeypatch.setattr)
    bad = [{**Space(SMALL, TARGET).rule, "fault": fault} for fault in ("wrong", "nan", "abort")]
    propose: Any = lambda *_: bad  # noqa: E731
    monkeypatch.setattr(TemplateProposer, "propose", propose)
    with started(tmp_path, Settings(3, program=FAULTY)) as tuner:
        tuner.run()
        assert settle(tuner, {}) == ({}, [])
    assert [trial.seconds for trial in tuner.trials] == [None] * 3
    assert list(Store(tmp_path).logs()) == []


def test_a_pool_ends_what_hangs_and_goes_on(tmp_path: Path) -> None:
    program = tmp_path / "worker.py"
    program.write_text(
        "import sys, json, time, os\n"
        "print('{}', flush=True)\n"
        "for line in sys.stdin:\n"
        "    request = json.loads(line)\n"
        "    if request['do'] == 'sleep': time.sleep(60)\n"
        "    if request['do'] == 'die': os.kill(os.getpid(), 11)\n"
        "    if request['do'] == 'half': print('{\"a\"', end='', flush=True); os._exit(3)\n"
        "    print(json.dumps(request), flush=True)\n"
    )
    jobs = [{"do": d, "n": n} for n, d in enumerate(["go", "sleep", "go", "die", "go", "half"])]
    with WorkerPool(2, (sys.executable, str(program))) as pool:
        answers = dict(pool.work(jobs, patience(1.0)))
        assert pool.ask({"do": "go"}, 60.0) == {"do": "go"}
        with pytest.raises(LostError, match="Segmentation fault"):
            pool.ask({"do": "die"}, 60.0)
    assert [answers[n] for n in (0, 2, 4)] == [jobs[n] for n in (0, 2, 4)]
    lost = {n: answer for n, answer in answers.items() if isinstance(answer, LostError)}
    assert {n: one.outcome for n, one in lost.items()} == {1: "hung", 3: "crashed", 5: "crashed"}
    assert lost[3].note == "Segmentation fault"
    assert lost[5].note == "status 3"
    with (
        pytest.raises(TuningError, match=r"does not start: status 1[\s\S]*no luck"),
        WorkerPool(1, (sys.executable, "-c", "raise SystemExit('no luck')")) as pool,
    ):
        pool.ask({"do": "go"}, 60.0)


def test_time_in_which_the_tuner_was_stopped_does_not_count() -> None:
    limit = patience(2.5)
    code = (
        "import sys\n"
        "from tvm_mobilenet.tuning.worker_pool import WorkerPool\n"
        "worker = \"print('{}', flush=True); input(); import time; time.sleep(1.0); "
        "print('{}', flush=True)\"\n"
        "with WorkerPool(1, (sys.executable, '-c', worker)) as pool:\n"
        "    print('ready', flush=True)\n"
        f"    print(pool.ask({{}}, {limit}), flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.3)
    os.killpg(child.pid, signal.SIGSTOP)
    time.sleep(limit + 1.0)
    os.killpg(child.pid, signal.SIGCONT)
    assert child.communicate(timeout=600)[0] == "{}\n"


def test_a_rest_before_each_measurement_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[str, float]] = []
    ask = WorkerPool.ask

    def noted(self: WorkerPool, request: Any, limit_s: float) -> Any:
        begun.append((f"{request['do']} begins", time.monotonic()))
        answer = ask(self, request, limit_s)
        begun.append((f"{request['do']} ends", time.monotonic()))
        return answer

    monkeypatch.setattr(WorkerPool, "ask", noted)
    with started(tmp_path, Settings(4, cool_down=0.7)) as tuner:
        tuner.run()
    marks = [at for what, at in begun if what.startswith("measure")]
    rests = [after - before for before, after in zip(marks[1::2], marks[2::2], strict=False)]
    assert len(rests) == 3
    assert min(rests) >= 0.69


@pytest.mark.alone
def test_a_tiny_network_from_end_to_end(tmp_path: Path) -> None:
    statuses: list[Any] = []
    folder = tmp_path / "logs"
    kernels = {
        c["kernel"] for c in tm.compile(MODEL, target=TARGET).manifest["calls"] if c["knobs"]
    }
    budget = 2 * len(kernels)
    report = tm.tune(MODEL, trials=budget, target=TARGET, log_dir=folder, progress=statuses.append)
    assert {row.workload for row in report.rows} == kernels
    assert sum(row.trials for row in report.rows) == budget
    assert [status.trials for status in statuses] == list(range(1, budget + 1))
    assert all(row.trials >= 1 for row in report.rows)
    assert all(row.best_s is not None and row.best_s > 0 for row in report.rows)
    assert report.best_s <= report.rule_s
    assert report.problems == ()
    last = report.status
    assert 0 < last.bound_s < last.now_s <= last.start_s
    assert 0.3 < last.busy <= 1.0
    # Compile finds a record of every kernel, and is right.
    compiled = tm.compile(MODEL, target=TARGET, records=folder, require_records=True)
    assert {call["source"] for call in compiled.manifest["calls"]} <= {"record", "fallback"}
    assert compiled.manifest["verification"]["relative"] < 1e-5
    by_kernel = {call["kernel"]: call["knobs"] for call in compiled.manifest["calls"]}
    assert all(by_kernel[row.workload] == row.knobs for row in report.rows)
    # The same command again measures nothing; a larger budget goes on from there.
    before = (folder / HISTORY).read_bytes()
    again = tm.tune(MODEL, trials=budget, target=TARGET, log_dir=folder)
    assert (folder / HISTORY).read_bytes() == before
    assert again.rows == report.rows
    more = tm.tune(MODEL, trials=budget + 4, target=TARGET, log_dir=folder)
    assert more.status.fresh == 4
    assert (folder / HISTORY).read_bytes().startswith(before)
    # Another number of threads is another history.
    assert read_history(folder / HISTORY, target_key(TARGET), 2).trials == ()


_COMMAND = (
    *(sys.executable, "-m", "tvm_mobilenet", "tune", "v1", "--alpha", "0.25"),
    *("--resolution", "32", "--classes", "10", "--cores", "1", "--trials"),
)


def workers_of(pid: int) -> Sequence[str]:
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in found.stdout.splitlines() if line.endswith(f"tuning.worker {pid}")]


def test_killed_at_any_moment_it_goes_on_where_it_was(tmp_path: Path) -> None:
    rng = random.Random(0)
    path = tmp_path / HISTORY
    seen: tuple[Any, ...] = ()
    for kills in range(1, 8):
        child = subprocess.Popen(
            [*_COMMAND, "1000", "--log-dir", str(tmp_path)], stderr=subprocess.DEVNULL
        )
        # From before the first candidate to the middle of a later one.
        patience, enough = time.monotonic() + 60, len(seen) + rng.randrange(4)
        while time.monotonic() < patience and child.poll() is None:
            if path.exists() and path.read_bytes().count(b"\n") >= enough:
                break
            time.sleep(0.02)
        time.sleep(rng.random() / 2)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        history = read_history(path, target_key(TARGET), 1)
        assert history.trials[: len(seen)] == seen
        assert len(history.damaged) <= kills
        seen = history.trials
        # What it had started died with it.
        patience = time.monotonic() + 10
        while workers_of(child.pid) and time.monotonic() < patience:
            time.sleep(0.1)
        assert workers_of(child.pid) == []
    assert seen
    budget = max(len(seen) + 6, 30)
    report = tm.tune(MODEL, trials=budget, target=TARGET, log_dir=tmp_path)
    trials = read_history(path, target_key(TARGET), 1).trials
    assert trials[: len(seen)] == seen
    assert len(trials) == budget
    assert report.status.fresh == budget - len(seen)
    tried = Counter((trial.workload, identity(trial.knobs)) for trial in trials)
    assert max(tried.values()) == 1
    assert tm.compile(MODEL, target=TARGET, records=tmp_path, require_records=True)


def test_what_decided_about_fusion_goes_with_the_records(tmp_path: Path) -> None:
    shared = [
        call
        for call in tm.compile(MODEL, target=TARGET, records=False, fusion="all").manifest["calls"]
        if call["operator"] == "separable"
    ]
    facts: dict[str, Any] = {
        "target": target_key(TARGET), "threads": 1, "seconds": 1e-6, "repeats": 9, "spread": 0.0,
        "machine": "nowhere", "date": "2026-01-01", "verified": True, "error": 0.0, "tvm": "0.27",
    }  # fmt: skip
    with Store(tmp_path / "before").writing() as writer:
        for number, call in enumerate(shared):
            writer.keep(
                Record(
                    kind="fusion", operator="separable", workload=call["kernel"],
                    fused=number % 2 == 0, **facts,
                )
            )  # fmt: skip
    report = tm.tune(
        MODEL, trials=1, target=TARGET, log_dir=tmp_path / "logs", records=tmp_path / "before"
    )
    kernels = {row.workload for row in report.rows}
    fused = {call["kernel"] for call in shared[::2]}
    assert fused <= kernels
    assert not kernels & ({call["kernel"] for call in shared[1::2]} - fused)
    compiled = tm.compile(MODEL, target=TARGET, records=tmp_path / "logs", verify=False)
    assert {c["kernel"] for c in compiled.manifest["calls"] if c["knobs"]} == kernels


def test_two_runs_on_one_folder(tmp_path: Path) -> None:
    with (
        Store(tmp_path).writing(),
        pytest.raises(RecordsBusyError, match=rf"being written by process {os.getpid()} on"),
    ):
        tm.tune(MODEL, trials=1, target=TARGET, log_dir=tmp_path)
    assert not (tmp_path / HISTORY).exists()


def test_what_cannot_be_tuned_here_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    with pytest.raises(TuningError, match="cannot be measured here"):
        tm.tune(MODEL, trials=1, target="rpi4", log_dir=folder)
    with pytest.raises(TuningError, match="planned for 4096 cores"):
        tm.tune(MODEL, trials=1, target=dataclasses.replace(host(), cores=4096), log_dir=folder)
    with pytest.raises(TuningError, match="no tuner 'magic'"):
        tm.tune(MODEL, trials=1, tuner="magic", log_dir=folder)
    with pytest.raises(DeviceError, match="names no port"):
        tm.tune(MODEL, trials=1, device="pi", log_dir=folder)
    with pytest.raises(TuningError, match="-1 trials"):
        tm.tune(MODEL, trials=-1, log_dir=folder)
    assert not folder.exists()


def test_without_xgboost_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(TuningError, match=r"pip install 'tvm-mobilenet\[tune\]'"):
        tm.tune(MODEL, trials=1, target=TARGET, log_dir=tmp_path / "none")
