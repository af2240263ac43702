"""An artifact for a GPU, made and looked at on a machine that has none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from parts import nvcc

Run = Callable[..., "CompletedProcess[str]"]


@pytest.fixture(scope="module")
def jetson(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A tiny network for another processor's GPU: the artifact, and what compile printed."""
    nvcc()
    path = tmp_path_factory.mktemp("jetson") / "jetson.so"
    made = run(
        *("compile", "v1", "--alpha", 0.25, "--resolution", 32, "--classes", 10),
        *("--target", "sm_87", "--host", "aarch64-linux-gnu", "--dtype", "float16", "-o", path),
    )
    assert made.returncode == 0, made.stderr
    return path, made.stdout


def test_compile_says_what_the_kernels_take(jetson: tuple[Path, str]) -> None:
    _, said = jetson
    assert "0 without a schedule of ours" in said
    assert "launches: one graph of" in said
    assert "no spill" in said
    assert "needs GPU: sm_87, a driver of CUDA 13" in said


def test_the_file_is_for_the_other_processor(run: Run, jetson: tuple[Path, str]) -> None:
    path, _ = jetson
    manifest = json.loads(run("inspect", path, "--json").stdout)
    assert (manifest["machine"], manifest["target"]["dtype"]) == ("aarch64", "float16")
    data = path.read_bytes()
    machine = {int.from_bytes(data[i + 18 : i + 20], "little") for i in places(data, b"\x7fELF")}
    assert machine == {183, 190}  # EM_AARCH64, and EM_CUDA within it


def test_run_refuses_it_by_name(run: Run, jetson: tuple[Path, str]) -> None:
    path, _ = jetson
    refused = run("verify", path)
    assert refused.returncode == 2
    assert "is for aarch64" in refused.stderr or "sm_87" in refused.stderr


def test_cuda_without_a_gpu_names_architectures(run: Run, tmp_path: Path) -> None:
    refused = run("compile", "v1", "--target", "cuda", "-o", tmp_path / "m.so")
    if refused.returncode == 0:
        pytest.skip("this machine has a GPU of NVIDIA's")
    assert "the GPU of this machine" in refused.stderr
    assert "sm_90" in refused.stderr


def places(data: bytes, what: bytes) -> list[int]:
    found, at = [], data.find(what)
    while at >= 0:
        found.append(at)
        at = data.find(what, at + 1)
    return found
