"""What the tests of the command line share."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import commands
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run() -> Run:
    return commands.run


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network, compiled by the command line for this machine."""
    path = tmp_path_factory.mktemp("artifact") / "small.so"
    made = commands.run(
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
