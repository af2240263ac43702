"""Ctrl-C during compile: status 130, no traceback, no file half written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.mark.parametrize("moment", ["compiling", "generating code"])
def test_ctrl_c_ends_compile_cleanly(moment: str, tmp_path: Path) -> None:
    output = tmp_path / "net.so"
    phases = tmp_path / "phases"
    command = [sys.executable, "-m", "tvm_mobilenet", "compile", "v1", "--alpha", "0.25",
               "--resolution", "64", "--dump-ir", str(phases), "-o", str(output)]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        # The phases written so far tell where it is, on a slow machine as on a fast one.
        last = {"compiling": "01_emit*", "generating code": "04_schedule_kernels*"}[moment]
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list(phases.glob(last)):
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert not list(tmp_path.glob("*.so*"))
