"""Comparison and profile of a network on an OpenCL device, and on a CUDA driver that is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cuda_road import in_a_process, nvcc
from opencl import opencl_context
from typer.testing import CliRunner

import tvm_mobilenet as tm
from tvm_mobilenet.bench.gpu_comparison import GpuReport
from tvm_mobilenet.cli.app import app
from tvm_mobilenet.errors import InputError, NoGpuError
from tvm_mobilenet.profile.gpu import profile_on_gpu

MODEL = tm.mobilenet_v1(0.25, 32, classes=10)
_BOTH = """
import json, sys
from tvm_mobilenet.bench.gpu import bench_on_gpu
from tvm_mobilenet.profile.gpu import profile_on_gpu
from tvm_mobilenet.runtime.artifact import read_manifest
path = sys.argv[1]
report = bench_on_gpu(path, read_manifest(path), rounds=1, seconds=0.02)
print(json.dumps([report.to_dict(), profile_on_gpu(path, 4).to_dict()]))
"""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    opencl_context()
    path = tmp_path_factory.mktemp("bench") / "m.so"
    return tm.compile(MODEL, target="opencl", verify=False).export(path)


def test_ours_is_timed_both_ways(artifact: Path) -> None:
    found = tm.bench(artifact, rounds=2, seconds=0.1)
    assert isinstance(found, GpuReport)
    (row,) = found.rows
    assert 0 < row.p10_ms <= row.device_ms <= row.p90_ms
    assert row.host_ms > 0
    assert found.gpu["device"] == opencl_context().devices[0].name
    assert found.predicted_ms is None  # of no one device


def test_every_kernel_has_its_bound(artifact: Path) -> None:
    found = profile_on_gpu(artifact, 10)
    assert sum(row.macs for row in found.rows) == MODEL.macs
    assert all(row.us > 0 and row.bound_us > 0 for row in found.rows)
    assert found.device == opencl_context().devices[0].name
    assert found.kernels_us < 100 * found.call_us


def test_the_command_line_tells_it(artifact: Path) -> None:
    runner = CliRunner()
    short = ["--rounds", "1", "--seconds", "0.05"]
    # A heading breaks where a slow call makes its column wide.
    said = runner.invoke(app, ["bench", str(artifact), *short], env={"COLUMNS": "120"})
    assert said.exit_code == 0, said.output
    assert "device ms" in said.stdout
    said = runner.invoke(app, ["profile", str(artifact), "--repeats", "10", "--json"])
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout)["target"] == "opencl"


def test_on_cuda_a_driver_is_enough(tmp_path: Path) -> None:
    nvcc()
    path = tm.compile(MODEL, target="sm_90").export(tmp_path / "m.so")
    with pytest.raises(NoGpuError):
        tm.bench(path)
    with pytest.raises(InputError, match="nothing to measure"):
        tm.bench(path, rounds=0)
    status, words = in_a_process(_BOTH, path, FAKE_CUDA_ARCH="90")
    assert status == 0, words
    bench, profile = json.loads(words.strip().splitlines()[-1])
    assert bench["gpu"]["device"] == profile["device"] == "Fake GPU"
    assert bench["predicted_ms"] > 0
    assert bench["rows"][0]["device_ms"] > 0
