"""Boards of the classic stack: TVM 0.19's servers, here and on an emulated aarch64 machine."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import spoilt
from kernels import workload
from onnx_nets import Net
from parts import BOARD, NO_BOARD, free_port, listens, running, served, ssh_server, wait_for

import tvm_mobilenet as tm
from tvm_mobilenet.device import open_device
from tvm_mobilenet.errors import DeviceError, DeviceLostError, TuningError
from tvm_mobilenet.machine import TargetSpec, host
from tvm_mobilenet.profile.board import profile_on
from tvm_mobilenet.tuning.board_pool import find_pool
from tvm_mobilenet.tuning.measurers import find_measurer
from tvm_mobilenet.tuning.records import target_key
from tvm_mobilenet.tuning.space import Space
from tvm_mobilenet.tuning.store import HISTORY, Store
from tvm_mobilenet.tuning.task import Settings
from tvm_mobilenet.tuning.template import TemplateProposer
from tvm_mobilenet.tuning.trials import Trial, read_history
from tvm_mobilenet.tuning.tuner import Tuner

EMULATED = "aarch64, emulated by QEMU"
SPOILT = (sys.executable, str(Path(spoilt.__file__)))


def board_python() -> Path:
    """The Python of the emulated aarch64 board, with TVM 0.19's wheel."""
    path = BOARD.with_name("python3-relay")
    if not path.exists():
        pytest.skip(NO_BOARD)
    return path


@pytest.fixture(scope="module")
def emulated() -> Iterator[str]:
    with served(board_python()) as address:
        yield address


def small(target: TargetSpec) -> Any:
    return workload("pointwise", (32, 32), (7, 7), target.lanes, activation="relu6")


@contextmanager
def started(folder: Path, address: str, settings: Settings) -> Iterator[Tuner]:
    """A tuner of one small kernel, for whatever the device is."""
    pool, board = find_pool(address)
    pool = dataclasses.replace(pool, emulated=True)  # a short control kernel will do
    target = dataclasses.replace(board.target, cores=1)
    work = small(target)
    with Store(folder).writing() as writer:
        history = read_history(folder / HISTORY, target_key(target), 1)
        works = {work.key: (work, 1)}
        measurer = find_measurer(target, settings, pool)
        yield Tuner(works, target, history, writer, settings, measurer)


def trials_in(folder: Path, target: TargetSpec) -> tuple[Trial, ...]:
    return read_history(folder / HISTORY, target_key(target), 1).trials


def test_tuned_on_a_bare_server_of_tvms_own_until_it_is_gone(tmp_path: Path) -> None:
    port = free_port()
    command = ("-m", "tvm.exec.rpc_server", "--host", "127.0.0.1", "--port", port)
    with running(sys.executable, *command, "--port-end", port + 1, until="bind to"):
        address = f"127.0.0.1:{port}"
        assert wait_for(lambda: listens(port))
        with started(tmp_path, address, Settings(3, tuner="autotvm")) as tuner:
            tuner.run()
            target = tuner.target
            (board,) = tuner.status().boards
    assert (board.where, board.trials) == (address, 3)
    assert target.cpu == host().cpu
    trials = trials_in(tmp_path, target)
    assert [trial.outcome for trial in trials] == ["ok"] * 3
    assert all(trial.control and trial.error is not None for trial in trials)
    with pytest.raises(DeviceError, match="nothing listens"):
        tm.tune("v1", trials=1, device=address, log_dir=tmp_path)


def test_a_write_beside_the_output_is_seen_on_the_board(
    emulated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(len(spoilt.FAULTS), program=SPOILT)
    with started(tmp_path, emulated, settings) as tuner:
        rule = Space(small(tuner.target), tuner.target).rule
        batch: Any = lambda *_: [{**rule, "fault": fault} for fault in spoilt.FAULTS]  # noqa: E731
        monkeypatch.setattr(TemplateProposer, "propose", batch)
        tuner.run()
    trials = trials_in(tmp_path, tuner.target)
    assert {str(t.knobs["fault"]): t.outcome for t in trials} == {
        "none": "ok", "beside": "wrong", "behind": "wrong", "far": "crashed",
    }  # fmt: skip
    assert all(trial.machine == EMULATED for trial in trials)
    notes = [trial.note for trial in trials if trial.outcome == "wrong"]
    assert notes == ["it wrote outside its output"] * 2


def test_tuned_through_ssh_compiled_and_verified_on_the_board(
    emulated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No target is named anywhere: the board says what it is."""
    net = Net((1, 3, 16, 16))
    value = net.op("Relu", net.conv("image", 16, 3, bias=True, strides=[2, 2]))
    value = net.op("GlobalAveragePool", net.op("Relu", net.conv(value, 16, 1)))
    network = net.save(tmp_path / "net.onnx", net.op("Flatten", value))
    logs, artifact = tmp_path / "logs", tmp_path / "board.so"
    (tmp_path / "ssh").mkdir()
    with ssh_server(tmp_path / "ssh") as (port, folder):
        monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
        device = f"ssh://127.0.0.1:{port}?python={board_python()}"
        report = tm.tune(network, trials=3, tuner="autotvm", device=device, log_dir=logs)
        assert report.status.failures == {}
        assert report.target.startswith("aarch64_")
        with pytest.raises(DeviceError, match=r"another TVM, and no xtc-tvm-python-bindings"):
            open_device(f"ssh://127.0.0.1:{port}?python={BOARD}", 60)
    # The same board, and its server is up already.
    made = tm.compile(network, device=emulated, records=logs)
    assert [call["source"] for call in made.manifest["calls"]].count("record") >= 2
    assert made.manifest["verification"]["relative"] < 1e-5
    assert made.manifest["machine"] == "aarch64"
    made.export(artifact)
    assert tm.verify(artifact, device=emulated).passed
    timed = tm.bench(artifact, device=emulated, rounds=1, seconds=0.05)
    assert timed.rows[0].calls >= 5
    with open_device(emulated) as device, pytest.raises(DeviceError, match="no single kernels"):
        profile_on(device, artifact)


def test_a_server_of_the_other_tvm_is_refused() -> None:
    board_python()
    with (
        served(BOARD) as address,
        open_device(address) as device,
        pytest.raises(DeviceLostError, match="its TVM has to be as here: xtc-tvm"),
    ):
        device.session()


def test_what_no_board_can_do_is_refused(emulated: str, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"x86-64-v4 cannot be measured on .*: that is aarch64"):
        tm.tune("v1", trials=1, target="x86-64-v4", device=emulated, log_dir=tmp_path / "none")
    assert not (tmp_path / "none").exists()
