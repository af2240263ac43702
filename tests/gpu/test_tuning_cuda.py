"""Candidates for CUDA, timed by the driver's own calls: on a driver that is none."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from cuda_on_cpu import kernels_on_cpu
from cuda_road import in_a_process, nvcc

from tvm_mobilenet.artifact.toolchain_cuda import Cubin, Nvcc
from tvm_mobilenet.errors import CodegenError
from tvm_mobilenet.machine import parse
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.tuning import gpu_build
from tvm_mobilenet.tuning.worker import build, build_control

TARGET = parse("sm_80")
assert TARGET.gpu is not None
# One unit: a kernel as large as a GPU takes a processor minutes.
TARGET = dataclasses.replace(TARGET, gpu=dataclasses.replace(TARGET.gpu, units=1))
WORK = Workload("pointwise", 1, 16, 16, (3, 3), (3, 3), 4, 4, activation="relu6")
_MEASURE = """
import json, sys
from tvm_mobilenet.tuning.worker import compare, measure
request = json.load(open(sys.argv[1]))
again = {**request, "paths": [request["path"]] * 2, "rounds": 2}
print(json.dumps([measure(request), compare(again)]))
assert "tvm" not in sys.modules
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A request to measure, and the source of candidate and control kernel."""
    found, sources = nvcc(), []
    folder = tmp_path_factory.mktemp("candidate")

    class Listening(Nvcc):
        def cubin(self, source: str, arch: str) -> Cubin:
            sources.append(source)
            return found.cubin(source, arch)

    about: dict[str, Any] = {"work": dataclasses.asdict(WORK), "target": TARGET.to_dict()}
    paths = {"path": str(folder / "rule.json"), "control": str(folder / "control.json")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "tvm_mobilenet.artifact.toolchain_cuda.find_nvcc",
            lambda: Listening(found.program, found.origin),
        )
        # On the processor it would take minutes.
        patch.setattr(gpu_build, "_CONTROL_S", 0.0)
        assert build({**about, "knobs": {}, "path": paths["path"]}) == {}
        assert build_control({**about, "path": paths["control"], "steps": 0}) == {}
    request = folder / "request.json"
    request.write_text(json.dumps({**about, **paths, "cold_bytes": 4_000, "best": None}))
    return request, "\n".join(sources)


def test_a_candidate_is_right_and_timed_as_a_graph(built: tuple[Path, str]) -> None:
    request, source = built
    folder = request.parent
    status, words = in_a_process(
        _MEASURE,
        request,
        FAKE_CUDA_KERNELS=str(kernels_on_cpu(source)),
        FAKE_CUDA_LOG=str(folder / "log"),
        FAKE_CUDA_ARCH="80",
    )
    assert status == 0, words
    measured, compared = json.loads(words.strip().splitlines()[-1])
    assert measured["outcome"] == "ok", measured
    assert 0 < measured["error"] < 1e-5
    assert measured["seconds"] > 0
    assert measured["control"] > 0
    assert [len(samples) for samples in compared["samples"]] == [2, 2]
    log = (folder / "log").read_text().splitlines()
    captured = [line.split()[1] for line in log if line.startswith("captured")]
    # 1 KB of weights against 4,000 bytes: four copies in turns, eight times in a graph.
    assert captured.count(f"{WORK.key}_kernel") % 32 == 0
    assert not [line for line in log if line.startswith("launch")]


def test_another_gpu_is_refused_by_name(built: tuple[Path, str]) -> None:
    status, words = in_a_process(_MEASURE, built[0], FAKE_CUDA_ARCH="75")
    assert status != 0
    assert "GpuArchitectureError: sm_80 is sm_80, and Fake GPU is sm_75" in words


def test_too_many_registers_are_refused_by_name(tmp_path: Path) -> None:
    nvcc()
    assert TARGET.gpu is not None
    small = dataclasses.replace(TARGET.gpu, unit_registers=256)
    with pytest.raises(CodegenError, match=r"a block of 256 threads with \d+ registers each"):
        gpu_build.write_control(dataclasses.replace(TARGET, gpu=small), str(tmp_path / "c.json"))
