"""The tuner on an OpenCL device: what it refuses, what it keeps, what compile makes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opencl import opencl_context

import tvm_mobilenet as tm
from tvm_mobilenet.artifact.launches import Launch
from tvm_mobilenet.errors import CodegenError, TuningError
from tvm_mobilenet.machine import TargetSpec, parse
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.tuning.gpu_build import check_launches, control_operations
from tvm_mobilenet.tuning.measurers import find_measurer
from tvm_mobilenet.tuning.records import target_key
from tvm_mobilenet.tuning.space import Space
from tvm_mobilenet.tuning.store import HISTORY, Store
from tvm_mobilenet.tuning.task import Settings
from tvm_mobilenet.tuning.template import TemplateProposer
from tvm_mobilenet.tuning.trials import read_history
from tvm_mobilenet.tuning.tuner import Tuner

TARGET = parse("opencl")
PATIENT_S = 120.0
"""PoCL compiles what it measures, and none of these hangs."""
SMALL = Workload("pointwise", 1, 32, 48, (7, 7), (7, 7), 4, 4, activation="relu6")


@contextmanager
def started(folder: Path, target: TargetSpec, settings: Settings) -> Iterator[Tuner]:
    """A tuner of one small kernel."""
    with Store(folder).writing() as writer:
        history = read_history(folder / HISTORY, target_key(target), 1)
        measurer = find_measurer(target, settings, None)
        yield Tuner({SMALL.key: (SMALL, 1)}, target, history, writer, settings, measurer)


def test_a_target_key_says_the_gpu_and_not_its_host() -> None:
    assert target_key(TARGET) == "opencl_opencl"
    assert target_key(parse("opencl-mali", cores=3)) == "opencl_mali"
    assert target_key(parse("sm_90", host="aarch64-linux-gnu")) == "cuda_sm_90"


def test_what_cannot_be_launched_is_refused_by_name() -> None:
    assert TARGET.gpu is not None
    launch = Launch("k", (0,), (1, 1, 1), (16, 16, 1), 32 << 10)
    check_launches([launch], TARGET.gpu)
    with pytest.raises(CodegenError, match=r"a block of 512 threads; desktop takes 256"):
        check_launches([dataclasses.replace(launch, block=(16, 32, 1))], TARGET.gpu)
    with pytest.raises(CodegenError, match=r"32769 bytes of shared memory; desktop has 32768"):
        check_launches([dataclasses.replace(launch, shared_bytes=32769)], TARGET.gpu)


def test_a_gpu_that_is_not_here_is_named() -> None:
    model = tm.mobilenet_v1(0.25, 32, classes=10)
    with pytest.raises(TuningError, match="kernels for metal cannot be measured on this machine"):
        tm.tune(model, trials=1, target="metal")
    with pytest.raises(TuningError, match="MetaSchedule proposes nothing for opencl"):
        tm.tune(model, trials=1, target="opencl", tuner="auto")


def test_candidates_that_do_not_fit_cost_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule for a larger GPU than the one that builds allows."""
    opencl_context()
    assert TARGET.gpu is not None
    rule = Space(SMALL, TARGET).rule
    propose: Any = lambda *_: [rule]  # noqa: E731
    monkeypatch.setattr(TemplateProposer, "propose", propose)
    narrow = dataclasses.replace(TARGET, gpu=dataclasses.replace(TARGET.gpu, block_threads=16))
    with started(tmp_path, narrow, Settings(1)) as tuner:
        tuner.run()
    (trial,) = read_history(tmp_path / HISTORY, target_key(narrow), 1).trials
    assert trial.outcome == "unbuildable"
    assert "row_threads" in trial.note or "threads" in trial.note


def test_candidates_are_checked_and_timed_by_the_device(tmp_path: Path) -> None:
    context = opencl_context()
    with started(tmp_path, TARGET, Settings(3, measure_limit=PATIENT_S)) as tuner:
        tuner.run()
    trials = read_history(tmp_path / HISTORY, target_key(TARGET), 1).trials
    assert [(trial.outcome, trial.note) for trial in trials] == [("ok", "")] * 3
    assert trials[0].knobs == Space(SMALL, TARGET).rule
    assert {trial.machine for trial in trials} == {context.devices[0].name}
    for trial in trials:
        assert trial.seconds is not None
        assert trial.control is not None
        assert trial.error is not None
        assert 1e-7 < trial.seconds < 1
        # No processor is as fast as this would be.
        assert control_operations(TARGET) / trial.control < 1e15
        assert trial.error < 1e-5


def test_a_network_is_tuned_and_compiled_with_its_records(tmp_path: Path) -> None:
    opencl_context()
    model = tm.mobilenet_v1(0.25, 32, classes=10)
    found = tm.tune(model, trials=4, target="opencl", log_dir=tmp_path, measure_limit=PATIENT_S)
    kept = [row for row in found.rows if row.best_s is not None]
    assert len(kept) == 4
    assert not found.problems
    records = Store(tmp_path).find(TARGET).kernels
    assert len(records) == 4
    assert all(record.verified for record in records.values())
    # Whatever the host has: a GPU's record is of one thread.
    other = parse("opencl", host="aarch64-linux-gnu", cores=7)
    assert Store(tmp_path).find(other).kernels == records
    compiled = tm.compile(model, target="opencl", records=tmp_path, verify=False)
    sources = {call["kernel"]: call["source"] for call in compiled.manifest["calls"]}
    assert {name for name, source in sources.items() if source == "record"} == set(records)
