"""Tuning on devices: boards are lost, candidates are bad, and no trial is counted wrongly."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faults
import pytest
from kernels import workload
from parts import device_command, free_port, running, wait_for
from test_board import served

import tvm_mobilenet as tm
from tvm_mobilenet.device import open_device
from tvm_mobilenet.errors import DeviceError, DeviceLostError, TuningError
from tvm_mobilenet.target import host, parse
from tvm_mobilenet.tuning.boards import find_place
from tvm_mobilenet.tuning.finals import settle
from tvm_mobilenet.tuning.records import target_key
from tvm_mobilenet.tuning.search import Explorer
from tvm_mobilenet.tuning.space import Space, identity
from tvm_mobilenet.tuning.store import HISTORY, Store
from tvm_mobilenet.tuning.task import Settings
from tvm_mobilenet.tuning.trials import Trial, read_history
from tvm_mobilenet.tuning.tuner import Tuner

TARGET = dataclasses.replace(host(), cores=1)
SMALL = workload("pointwise", (32, 32), (7, 7), TARGET.lanes)
FAULTY = (sys.executable, str(Path(faults.__file__)))


@contextlib.contextmanager
def started(folder: Path, address: str, settings: Settings, **options: Any) -> Iterator[Tuner]:
    """A tuner of one small kernel on a device."""
    place, _ = find_place(address)
    assert place.count == (2 if address.startswith("tracker") else 1)
    with Store(folder).writing() as writer:
        history = read_history(folder / HISTORY, target_key(TARGET), 1)
        works = {SMALL.key: (SMALL, 1)}
        yield Tuner(works, TARGET, history, writer, settings, place=place, **options)


def trials_in(folder: Path) -> tuple[Trial, ...]:
    history = read_history(folder / HISTORY, target_key(TARGET), 1)
    assert history.damaged == ()
    return history.trials


def test_one_kernel_over_rpc(server: str, tmp_path: Path) -> None:
    with started(tmp_path, server, Settings(6)) as tuner:
        tuner.run()
        (row,), problems = settle(tuner, {})
    assert problems == []
    assert row.rule_s is not None
    assert row.best_s is not None
    assert 0 < row.best_s <= row.rule_s < 1e-3
    trials = trials_in(tmp_path)
    assert [trial.outcome for trial in trials] == ["ok"] * 6
    assert all(trial.control and trial.error is not None for trial in trials)
    (record,) = [r for _, log in Store(tmp_path).logs() for r in log.records]
    assert record.verified


def test_each_fault_costs_its_trial(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.install(monkeypatch.setattr)
    rule = Space(SMALL, TARGET).rule
    batch = [{**rule, "fault": fault} for fault in faults.FAULTS]
    batch.append({**rule, "threads": "all"})
    propose: Any = lambda *_: batch  # noqa: E731
    monkeypatch.setattr(Explorer, "propose", propose)
    settings = Settings(len(batch), measure_limit=3.0, program=FAULTY)
    with started(tmp_path, server, settings) as tuner:
        tuner.run()
    trials = trials_in(tmp_path)
    found = {str(t.knobs["fault"]): t.outcome for t in trials if t.knobs["threads"] != "all"}
    assert found == {
        "none": "ok", "unbuildable": "unbuildable", "forever": "hung", "abort": "crashed",
        "far": "crashed", "beside": "wrong", "nan": "nan", "wrong": "wrong",
    }  # fmt: skip
    assert [t.outcome for t in trials if t.knobs["threads"] == "all"] == ["ok"]


@pytest.fixture
def boards() -> Iterator[tuple[str, contextlib.ExitStack, contextlib.ExitStack]]:
    """Address of a tracker with two servers, each ended by closing its stack."""
    with contextlib.ExitStack() as stack:
        tracker = stack.enter_context(running(*device_command("tracker", "--port", free_port())))
        address = tracker.removeprefix("listening on ").split(";")[0]
        serve = device_command("serve", "--port", 0, "--tracker", address, "--key", "pi")
        first, second = (stack.enter_context(contextlib.ExitStack()) for _ in range(2))
        first.enter_context(running(*serve))
        second.enter_context(running(*serve))
        address = f"tracker://{address}/pi"
        with open_device(address) as device:
            assert wait_for(lambda: device.free() == 2)  # they register after they listen
        yield address, first, second


def test_two_boards_one_dies_then_none(
    boards: tuple[str, contextlib.ExitStack, contextlib.ExitStack], tmp_path: Path
) -> None:
    address, first, second = boards
    told: list[Any] = []

    def tell(status: Any) -> None:
        told.append(status)
        if status.fresh == 2:
            second.close()
        if status.fresh == 7:
            first.close()

    settings = Settings(40, open_limit=1.5, board_limit=8.0)
    lost = pytest.raises(DeviceLostError, match=r"no board .* could be used")
    with started(tmp_path, address, settings, tell=tell) as tuner, lost:
        tuner.run()
    assert any("waits for a board" in status.waiting for status in told)
    # What was under way on a board that died is no trial; what was finished is all there.
    trials = trials_in(tmp_path)
    assert 7 <= len(trials) < 40
    assert {trial.outcome for trial in trials} == {"ok"}


def test_a_server_killed_in_a_trial_and_started_again(tmp_path: Path) -> None:
    port = free_port() % 190 + 9010  # TVM takes ports up to 9199
    serve = device_command("serve", "--port", port)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(contextlib.ExitStack())
        address = first.enter_context(running(*serve))
        address = address.removeprefix("listening on ").split(";")[0]
        waits: list[str] = []

        def tell(status: Any) -> None:
            if status.fresh == 3 and not status.waiting:
                first.close()
            if status.waiting:
                waits.append(status.waiting)
                if len(waits) == 2:
                    stack.enter_context(running(*serve))

        settings = Settings(8, open_limit=5.0, board_limit=60.0)
        with started(tmp_path, address, settings, tell=tell) as tuner:
            tuner.run()
        assert len(waits) >= 2
    trials = trials_in(tmp_path)
    assert [trial.outcome for trial in trials] == ["ok"] * 8
    assert max(Counter(identity(trial.knobs) for trial in trials).values()) == 1


def test_what_no_device_can_do_is_refused(server: str, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    with pytest.raises(TuningError, match=r"rpi4 cannot be measured on .*: that is"):
        tm.tune("v1", trials=1, target="rpi4", device=server, log_dir=folder)
    with pytest.raises(TuningError, match="planned for 4096 cores"):
        tm.tune("v1", trials=1, device=server, cores=4096, log_dir=folder)
    with pytest.raises(DeviceError, match="nothing listens"):
        tm.tune("v1", trials=1, device=f"127.0.0.1:{free_port()}", log_dir=folder)
    assert not folder.exists()


def test_an_emulated_board_from_end_to_end(board: Path, tmp_path: Path) -> None:
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=7)
    target = dataclasses.replace(parse("aarch64"), cores=1)
    with served(board) as address:
        report = tm.tune(
            model, trials=5, target=target, device=address, log_dir=tmp_path,
            measure_limit=60.0, open_limit=60.0,
        )  # fmt: skip
        assert report.problems == ()
        assert report.status.failures == {}
        tuned = {row.workload for row in report.rows if row.best_s}
        assert len(tuned) == 5
        made = tm.compile(model, target=target, seed=3, records=tmp_path)
        made.export(tmp_path / "tuned.so")
        calls = made.manifest["calls"]
        assert {call["kernel"] for call in calls if call["source"] == "record"} == tuned
        tm.verify(tmp_path / "tuned.so", device=address).check()
        # An emulator's times are compared with no others, and never shipped.
        with pytest.raises(TuningError, match="its times mean nothing"):
            tm.tune(model, trials=1, target=target, log_dir=Store().root, device=address)
        path = tmp_path / HISTORY
        path.write_text(path.read_text().replace("emulated by QEMU", "a board"))
        with pytest.raises(TuningError, match="give another --log-dir"):
            tm.tune(model, trials=1, target=target, log_dir=tmp_path, device=address)
    records = [r for _, log in Store(tmp_path).logs() for r in log.records]
    assert {record.machine for record in records} == {"aarch64, emulated by QEMU, alone"}
    assert all(record.verified for record in records)
