"""Whole tuning runs on an emulated aarch64 board, in each of the ways to reach one.

Cross-compiled candidates, winners verified there, records used by ``compile``, the artifact
uploaded and right. An emulator's times mean nothing and are not looked at.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from integer_networks import conv, quantized
from parts import START_S, device_command, free_port, running, served, wait_for

import tvm_mobilenet as tm
from tvm_mobilenet.device import open_device
from tvm_mobilenet.errors import TuningError
from tvm_mobilenet.machine import parse
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.tuning.store import HISTORY, Store
from tvm_mobilenet.tuning.tuning_report import TuningReport

MODEL = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=7)
NETWORK = ("v1", "--alpha", "0.25", "--resolution", "32", "--classes", "7", "--cores", "1")
PATIENT = {"measure_limit": 60.0, "open_limit": float(START_S)}
MACHINE = "aarch64, emulated by QEMU"


def check_records(folder: Path, tuned: set[str]) -> None:
    records = [r for _, log in Store(folder).logs() for r in log.records]
    assert {record.workload for record in records} == tuned
    assert {record.machine for record in records} == {f"{MACHINE}, alone"}
    assert all(record.verified for record in records)


def tuned_by(report: TuningReport) -> set[str]:
    assert report.problems == ()
    assert report.status.failures == {}
    return {row.workload for row in report.rows if row.best_s}


def test_over_rpc(emulated: str, tmp_path: Path) -> None:
    target = dataclasses.replace(parse("aarch64"), cores=1)
    report = tm.tune(
        MODEL, trials=5, target=target, device=emulated, log_dir=tmp_path, **PATIENT
    )  # fmt: skip
    tuned = tuned_by(report)
    assert len(tuned) == 5
    check_records(tmp_path, tuned)
    made = tm.compile(MODEL, target=target, seed=3, records=tmp_path, device=emulated)
    recorded = [call for call in made.manifest["calls"] if call["source"] == "record"]
    assert {call["kernel"] for call in recorded} == tuned
    assert [row.source for row in made.report.rows].count("record") == len(recorded)
    assert made.manifest["verification"]["relative"] < 1e-5
    # An emulator's times are compared with no others, and never shipped.
    with pytest.raises(TuningError, match="its times mean nothing"):
        tm.tune(MODEL, trials=1, target=target, log_dir=Store().root, device=emulated)
    path = tmp_path / HISTORY
    path.write_text(path.read_text().replace("emulated by QEMU", "a board"))
    with pytest.raises(TuningError, match="give another --log-dir"):
        tm.tune(MODEL, trials=1, target=target, log_dir=tmp_path, device=emulated)


def test_kernels_in_integers(emulated: str, tmp_path: Path) -> None:
    """Elements of int8, held to the reference bit for bit there."""
    target = dataclasses.replace(parse("aarch64"), cores=1)
    first = conv("c1", (1, 3, 9, 9), 24, 3, padding=(1, 1, 1, 1), activation="relu6")
    tiny = Model("tiny", "tiny", {}, first.in_shape, (first, conv("p1", first, 33)))
    report = tm.tune(
        tiny, trials=3, target=target, dtype="int8", device=emulated, log_dir=tmp_path, **PATIENT
    )
    tuned = tuned_by(report)
    assert {name.partition("_")[0] for name in tuned} == {"quantize", "qconv", "qpointwise"}
    assert all("_int8" in name for name in tuned)
    check_records(tmp_path, tuned)
    made = tm.compile(quantized(tiny), target=target, records=tmp_path, verify=False)
    ours = [call["source"] for call in made.manifest["calls"] if call["knobs"]]
    assert set(ours) == {"record"}


def test_over_the_tracker_on_two_boards(board: Path, tmp_path: Path) -> None:
    with running(*device_command("tracker", "--port", free_port())) as tracker:
        address = f"tracker://{tracker.address}/arm"
        with (
            served(board, tracker.address, "arm"),
            served(board, tracker.address, "arm"),
            open_device(address) as device,
        ):
            assert wait_for(lambda: device.free() == 2)
            report = tm.tune(
                MODEL, trials=6, device=address, cores=1, log_dir=tmp_path, **PATIENT
            )  # fmt: skip
            tuned = tuned_by(report)
            check_records(tmp_path, tuned)
            # Side by side: neither had them all.
            trials = [board.trials for board in report.status.boards]
            assert len(trials) == 2
            assert min(trials) >= 1
            assert sum(trials) >= 6
            target = dataclasses.replace(device.describe().target, cores=1)
            made = tm.compile(MODEL, target=target, seed=3, records=tmp_path)
            tm.verify(made.export(tmp_path / "tuned.so"), device=address).check()
    calls = made.manifest["calls"]
    assert {call["kernel"] for call in calls if call["source"] == "record"} == tuned


def test_through_ssh_as_a_user_does(
    board: Path, emulated: str, sshd: tuple[int, Path], tmp_path: Path
) -> None:
    """No target is named anywhere: the board says what it is."""
    device = ("--device", f"ssh://127.0.0.1:{sshd[0]}?python={board}")
    logs, artifact = tmp_path / "logs", tmp_path / "pi.so"

    def run(*words: object) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tvm_mobilenet", *map(str, words)],
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = run("tune", *NETWORK, *device, "--trials", 4, "--log-dir", logs)
    assert f"board {device[1]}: " in said
    assert "failed: none" in said
    # The same board, and its server is up already.
    there = ("--device", emulated)
    compiled = run("compile", *NETWORK, *there, "--records", logs, "-o", artifact)
    assert compiled.count(" record ") >= 4
    assert "verified: relative error" in compiled
    assert "end to end" in run("verify", artifact, *device)
    run("report", logs, "-o", tmp_path / "page.html")
    assert MACHINE in (tmp_path / "page.html").read_text()
