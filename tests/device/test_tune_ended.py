"""A tuner on a device is interrupted or killed: nothing of it stays, here or there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
import tuned
from parts import wait_for
from tuned import started, trials_in

from tvm_mobilenet.tuning.space import identity
from tvm_mobilenet.tuning.store import HISTORY
from tvm_mobilenet.tuning.task import Settings

MARK = "TVM_MOBILENET_TEST"


def marked(value: str) -> list[int]:
    """Processes, on either side, that have the mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={value}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parts[2]))
        except OSError:  # it has just ended
            continue
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_stays_and_it_goes_on(
    sshd: tuple[int, Path], tmp_path: Path, how: signal.Signals
) -> None:
    there = tmp_path / "python"
    there.write_text(f'#!/bin/sh\n{MARK}={tmp_path} exec {sys.executable} "$@"\n')
    there.chmod(0o755)
    address = f"ssh://127.0.0.1:{sshd[0]}?python={there}"
    logs = tmp_path / "logs"
    # Short: the path of a socket goes there.
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch:
        child = subprocess.Popen(
            [sys.executable, tuned.__file__, str(logs), address, "400"],
            env={
                **os.environ,
                MARK: str(tmp_path),
                "TMPDIR": scratch,
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            history = logs / HISTORY
            assert wait_for(
                lambda: history.exists() and history.read_bytes().count(b"\n") >= 3, 120
            )
            assert len(marked(str(tmp_path))) >= 4  # it, a member, the relay, the server
            # Ctrl-C reaches all of a terminal's group; kill -9 the tuner alone.
            if how == signal.SIGINT:
                os.killpg(child.pid, how)
            else:
                child.send_signal(how)
            assert child.wait(60) != 0
        finally:
            child.kill()
            child.wait()
        assert wait_for(lambda: marked(str(tmp_path)) == [], 30)
        if how == signal.SIGINT:
            assert list(Path(scratch).iterdir()) == []
    before = trials_in(logs)
    assert {trial.outcome for trial in before} == {"ok"}
    with started(logs, address, Settings(len(before) + 2)) as tuner:
        tuner.run()
    after = trials_in(logs)
    assert after[: len(before)] == before
    assert len(after) == len(before) + 2
    assert max(Counter(identity(trial.knobs) for trial in after).values()) == 1
