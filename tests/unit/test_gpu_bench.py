"""Comparisons and profiles on GPUs: their parts, without one."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvm_mobilenet.bench import gpu as session
from tvm_mobilenet.bench.comparison import OURS
from tvm_mobilenet.bench.gpu import bench_on_gpu, describe_gpu
from tvm_mobilenet.bench.gpu_comparison import TORCH, GpuReport, GpuRow
from tvm_mobilenet.bench.gpu_worker import Opened, timed_rounds
from tvm_mobilenet.errors import PeerError
from tvm_mobilenet.machine import parse
from tvm_mobilenet.models import mobilenet_v1
from tvm_mobilenet.profile.gpu import GpuProfile, kernel_row


def report() -> GpuReport:
    rows = (
        GpuRow(OURS, "0", device_ms=2.0, host_ms=3.0),
        GpuRow("torch-eager", "2", device_ms=5.0, relative_error=1e-4),
        GpuRow("torch-channels-last", "2", device_ms=1.0, relative_error=float("nan")),
        GpuRow("torch-compile", "2", failed="no triton"),
    )
    return GpuReport("V1", "sm_90", "float32", 1, 10, {"device": "GPU"}, rows, 1.5)


def test_a_ratio_is_theirs_over_ours_and_a_failure_has_none() -> None:
    found = report()
    assert found.ratio == {"torch-eager": 2.5, "torch-channels-last": 0.5}
    assert [row.runtime for row in found.disagreeing] == ["torch-channels-last"]
    assert json.loads(json.dumps(found.to_dict()))["rows"][3]["failed"] == "no triton"


def test_the_table_says_how_and_why_not() -> None:
    from tvm_mobilenet.cli.layout import lines

    told = "\n".join(lines(report().table(), None))
    assert "failed: no triton" in told
    assert "TF32 is off" in told
    assert "predicted for sm_90: 1.5000 ms" in told
    assert TORCH["torch-eager"].how in told


def test_calls_are_counted_and_waited_for() -> None:
    waited: list[int] = []
    launched: list[int] = []
    opened = Opened(lambda: launched.append(1), lambda: waited.append(1), lambda: np.zeros(1), {})
    times = timed_rounds(opened, 0.01)
    assert times["device"]
    assert times["host"]
    assert len(waited) >= len(times["device"])
    assert len(launched) > len(times["device"])
    assert all(0 < time < 0.01 for time in times["device"])


def test_peers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest: dict[str, Any] = {}
    with pytest.raises(PeerError, match="no runtime 'onnxruntime' to compare with on a GPU"):
        bench_on_gpu("m.so", manifest, against=["onnxruntime"])
    monkeypatch.setattr(session.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PeerError, match="torch is not installed"):
        bench_on_gpu("m.so", manifest, against=["torch"])


def test_nvidia_smi_says_what_the_gpu_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 580.1, 345 MHz, 1980 MHz, 3201 MHz, 700 W'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    told = describe_gpu(parse("sm_90"))
    assert (told["name"], told["driver_version"]) == ("NVIDIA H200", "580.1")
    assert told["clocks.max.sm"] == "1980 MHz"
    assert "name" not in describe_gpu(parse("opencl"))


def test_the_bounds_of_a_kernel() -> None:
    target = parse("sm_80")  # 108 units of 64 at 1.41 GHz, 40 MiB, 1555 GB/s
    call = {
        "layers": ["pw"],
        "kernel": "k",
        "operator": "pointwise",
        "schedule": "gpu.pointwise",
        "macs": 108 * 64 * 1410,
        "bytes": {"input": 1000, "weights": 155500, "output": 1000},
    }
    row = kernel_row(call, 4.0, target, 1 << 20)
    assert row.compute_us == pytest.approx(1)
    assert (row.bound_by, row.level) == ("compute", "L2")
    far = kernel_row({**call, "macs": 1}, 4.0, target, 1 << 30)
    assert far.memory_us == pytest.approx(155500 / (1555e3 * 0.9) + 2000 / (24 * 108 * 1410))
    assert far.bound_by == "memory"
    half = kernel_row(call, 4.0, parse("sm_80", dtype="float16"), 1 << 20)
    assert half.compute_us == pytest.approx(64 / 1024)
    whole = GpuProfile("V1", "sm_80", "float32", "A100", "A100", (row, far), 9.0)
    assert whole.kernels_us == 8
    assert whole.to_dict()["rows"][1]["bound_by"] == "memory"


def test_opening_torch_asks_for_float32_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for torch: what is asked of the real one."""
    from tvm_mobilenet.bench import gpu_worker, torch_network

    asked: list[Any] = []

    class Anything(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            return Anything(name)

        def __call__(self, *arguments: Any, **named: Any) -> Any:
            asked.append((self.__name__, arguments, named))
            return self

    torch = Anything("torch")
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(torch_network, "torch_network", lambda *_: torch)
    backends = torch.backends = Anything("backends")
    backends.cudnn, backends.cuda = types.SimpleNamespace(), Anything("cuda")
    backends.cuda.matmul = types.SimpleNamespace()
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 32, 32), np.float32))
    np.savez(tmp_path / "w.npz", a=np.zeros(1))
    model = mobilenet_v1(0.25, 32, classes=10)
    gpu_worker.open_on_gpu(
        {
            "runtime": "torch-compile",
            "input": str(tmp_path / "x.npy"),
            "weights": str(tmp_path / "w.npz"),
            "manifest": {"model": {"name": model.name, "options": dict(model.options)}},
            "dtype": "float32",
        }
    )
    assert backends.cudnn.benchmark is True
    assert backends.cudnn.allow_tf32 is backends.cuda.matmul.allow_tf32 is False
    assert ("set_float32_matmul_precision", ("highest",), {}) in asked
    compiled = [named for name, _, named in asked if name == "compile"]
    assert compiled == [{"mode": "max-autotune", "fullgraph": True}]
