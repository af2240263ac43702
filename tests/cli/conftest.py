"""The command line as a user runs it: a process, its output, its exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def tvm_mobilenet(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command line; extra keywords are environment variables."""
    return subprocess.run(
        [sys.executable, "-m", "tvm_mobilenet", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="session")
def run() -> Run:
    return tvm_mobilenet


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network, compiled by the command line for this machine."""
    path = tmp_path_factory.mktemp("artifact") / "small.so"
    made = tvm_mobilenet(
        *("compile", "v1", "--alpha", 0.25, "--resolution", 96, "--classes", 10),
        *("--seed", 7, "-o", path),
    )
    assert made.returncode == 0, made.stderr
    # Kept for the test of the report.
    path.with_suffix(".txt").write_text(made.stdout)
    return path


@pytest.fixture(scope="session")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of 60 by 40 pixels with some structure."""
    import numpy as np
    from PIL import Image

    path = tmp_path_factory.mktemp("images") / "photo.png"
    pixels = np.add.outer(np.arange(40) * 3, np.arange(60) * 2)[..., None] * [1, 2, 3]
    Image.fromarray((pixels % 256).astype(np.uint8)).save(path)
    return path
