"""Tuning on devices: trials, rests, candidates that are bad, and what is refused."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import faults
import numpy as np
import pytest
from parts import free_port, patience
from tuned import FAULTY, SMALL, TARGET, started, trials_in

import tvm_mobilenet as tm
from tvm_mobilenet.errors import DeviceError, TuningError
from tvm_mobilenet.tuning.finals import settle
from tvm_mobilenet.tuning.space import Space
from tvm_mobilenet.tuning.store import Store
from tvm_mobilenet.tuning.task import Settings
from tvm_mobilenet.tuning.template import TemplateProposer


def test_one_kernel_over_rpc(server: str, tmp_path: Path) -> None:
    finished: list[float] = []
    tell: Any = lambda _: finished.append(time.monotonic())  # noqa: E731
    with started(tmp_path, server, Settings(6, cool_down=0.6), tell=tell) as tuner:
        tuner.run()
        assert min(np.diff(finished)) > 0.6
        assert settle(tuner, {})[1] == []
    trials = trials_in(tmp_path)
    assert [trial.outcome for trial in trials] == ["ok"] * 6
    assert all(trial.control and trial.error is not None for trial in trials)
    (record,) = [r for _, log in Store(tmp_path).logs() for r in log.records]
    assert record.verified
    assert record.instead is not None
    assert 0 < record.seconds <= record.instead < 1e-3
    (board,) = tuner.status().boards
    assert (board.name, board.trials, board.why) == (server, 6, "")


def test_each_fault_costs_its_trial(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.install(monkeypatch.setattr)
    rule = Space(SMALL, TARGET).rule
    batch = [{**rule, "fault": fault} for fault in faults.FAULTS]
    batch.append({**rule, "threads": "all"})
    propose: Any = lambda *_: batch  # noqa: E731
    monkeypatch.setattr(TemplateProposer, "propose", propose)
    settings = Settings(len(batch), measure_limit=patience(3.0), program=FAULTY)
    with started(tmp_path, server, settings) as tuner:
        tuner.run()
    trials = trials_in(tmp_path)
    found = {str(t.knobs["fault"]): t.outcome for t in trials if t.knobs["threads"] != "all"}
    assert found == {
        "none": "ok", "unbuildable": "unbuildable", "forever": "hung", "abort": "crashed",
        "far": "crashed", "beside": "wrong", "nan": "nan", "wrong": "wrong",
    }  # fmt: skip
    assert [t.outcome for t in trials if t.knobs["threads"] == "all"] == ["ok"]


def test_what_no_device_can_do_is_refused(server: str, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    with pytest.raises(TuningError, match=r"rpi4 cannot be measured on .*: that is"):
        tm.tune("v1", trials=1, target="rpi4", device=server, log_dir=folder)
    with pytest.raises(TuningError, match="planned for 4096 cores"):
        tm.tune("v1", trials=1, device=server, cores=4096, log_dir=folder)
    with pytest.raises(DeviceError, match="nothing listens"):
        tm.tune("v1", trials=1, device=f"127.0.0.1:{free_port()}", log_dir=folder)
    assert not folder.exists()
