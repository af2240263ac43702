"""From one command to the next with an OpenCL artifact, on whatever device is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from commands import run
from opencl import opencl_context
from PIL import Image


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    opencl_context()
    path: Path = tmp_path_factory.mktemp("artifact") / "opencl.so"
    options = ("--alpha", 0.25, "--resolution", 32, "--classes", 10, "--target", "opencl")
    made = run("compile", "v1", *options, "-o", path)
    assert made.returncode == 0, made.stderr
    assert re.search(r"block13\.pw.* rule ", made.stdout)
    assert re.search(r"kernels \d+\.\d{3} ms, one call \d+\.\d{3} ms", made.stdout)
    assert "verified: relative error" in made.stdout
    return path


def test_inspect_tells_what_is_launched(artifact: Path) -> None:
    shown = run("inspect", artifact).stdout
    assert re.search(r"launches +\d+ of \d+ opencl kernels a call", shown)
    assert re.search(r"needs +work-groups of \d+, \d+ bytes of local memory", shown)
    assert "needs CPU features" not in shown
    manifest = json.loads(run("inspect", artifact, "--json").stdout)
    assert manifest["stack"] == "launches"
    assert len(manifest["plan"]["calls"]) == len(manifest["calls"])


def test_verify_and_run(artifact: Path, tmp_path: Path) -> None:
    shown = run("verify", artifact)
    assert shown.returncode == 0, shown.stderr
    assert "WRONG" not in shown.stdout
    pixels = np.add.outer(np.arange(40) * 3, np.arange(60) * 2)[..., None] * [1, 2, 3]
    Image.fromarray((pixels % 256).astype(np.uint8)).save(tmp_path / "photo.png")
    answered = run("run", artifact, tmp_path / "photo.png", "--json")
    assert answered.returncode == 0, answered.stderr
    assert "photo.png" in answered.stdout


def test_a_device_that_is_not_there_ends_with_its_name(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TVM_MOBILENET_OPENCL", "Voodoo")
    done = run("verify", artifact)
    assert done.returncode == 2
    assert "there is no OpenCL device 'Voodoo' here" in done.stderr
    assert "Traceback" not in done.stderr
