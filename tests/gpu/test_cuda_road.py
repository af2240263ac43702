"""A network on TVM's CUDA runtime: what is launched and copied, its numbers, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_on_cpu import kernels_on_cpu
from cuda_road import Ran, compiled_for_cuda, in_a_process, run_network

from tvm_mobilenet import mobilenet_v1, mobilenet_v3_small
from tvm_mobilenet.compilation.compiled import Compiled
from tvm_mobilenet.models.network import network_from
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.verify.artifact import sample_input, verify

V1 = mobilenet_v1(alpha=0.25, resolution=32)
V3 = mobilenet_v3_small(alpha=0.35, resolution=32, batch=2)
HALVES = 5e-3
"""Relative error of a network whose maps are stored in float16: 2**-11 for each of its layers."""


@pytest.fixture(scope="module")
def v1() -> tuple[Compiled, str]:
    return compiled_for_cuda(V1, "sm_80", fusion="all")


@pytest.fixture(scope="module")
def ran(v1: tuple[Compiled, str], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run_network(*v1, sample_input(V1.input_shape), tmp_path_factory.mktemp("v1"))


def reference_of(model: Model, x: Any) -> Any:
    from tvm_mobilenet.models import reference

    return reference.run(model, network_from(model, None, 0).weights, x)


def test_the_network_computes_what_the_reference_does(ran: Ran) -> None:
    verify(ran, V1, network_from(V1, None, 0).weights).check()


def test_a_captured_graph_reads_the_input_anew(ran: Ran) -> None:
    once, twice, again = ran.outputs
    np.testing.assert_array_equal(once, again)
    x = 2 * sample_input(V1.input_shape)
    want = reference_of(V1, x)
    assert np.abs(twice - want).max() <= 1e-5 * np.abs(want).max()
    assert np.abs(twice - once).max() > 1e-4


def test_one_graph_holds_every_launch(ran: Ran) -> None:
    gpu: dict[str, Any] = ran.manifest["gpu"]  # type: ignore[assignment]
    calls: list[dict[str, Any]] = ran.manifest["calls"]  # type: ignore[assignment]
    assert (gpu["graphs"], gpu["outside"]) == ([len(calls)], 0)
    names = [line.split()[1] for line in ran.log if line.startswith("captured")]
    first = [line.split()[1] for line in ran.log if line.startswith("launch")][: len(names)]
    assert names == first, "a graph repeats what the first call launched"
    kernels = [name.partition("_kernel")[0] for name in names]
    order = [kernel for i, kernel in enumerate(kernels) if i == 0 or kernels[i - 1] != kernel]
    expected = [call["kernel"] for call in calls]
    assert order == [k for i, k in enumerate(expected) if i == 0 or expected[i - 1] != k]


def test_a_call_is_a_copy_in_a_graph_and_a_copy_out(ran: Ran) -> None:
    begin = next(i for i, line in enumerate(ran.log) if line.startswith("graph"))
    count = sum(line.startswith("captured") for line in ran.log)
    size = 4 * int(np.prod(V1.input_shape))
    call = [f"copy in {size}", f"graph {count}", "copy out 4000"]
    assert ran.log[begin - 1 : begin + 2] == call
    assert ran.log[begin + 2 : begin + 5] == call


def test_the_manifest_says_what_the_gpu_holds(ran: Ran) -> None:
    gpu: dict[str, Any] = ran.manifest["gpu"]  # type: ignore[assignment]
    until = next(i for i, line in enumerate(ran.log) if line.startswith("graph"))
    taken = [int(line.split()[1]) for line in ran.log[:until] if line.startswith("malloc")]
    assert 0.9 * sum(taken) <= gpu["memory_bytes"] <= 1.1 * sum(taken)
    launched = {line.split()[1] for line in ran.log if line.startswith("captured")}
    assert launched == set(gpu["kernels"])
    assert all(used["spill_bytes"] == 0 for used in gpu["kernels"].values())


def test_halves_in_a_network_with_everything(tmp_path: Path) -> None:
    x = sample_input(V3.input_shape)
    compiled, source = compiled_for_cuda(V3, "sm_90", "float16")
    ran = run_network(compiled, source, x, tmp_path)
    want = reference_of(V3, x)
    assert ran.outputs[2].dtype == np.float32
    error = np.linalg.norm(ran.outputs[2] - want) / np.linalg.norm(want)
    assert 0 < error < HALVES


COMPILE = """
import tvm_mobilenet as tm
model = tm.mobilenet_v1(alpha=0.25, resolution=32)
compiled = tm.compile(model, target="cuda", fusion="all")
print(compiled.manifest["target"]["name"], compiled.manifest["target"]["gpu"]["chip"])
print(compiled.manifest["verification"]["relative"])
report = compiled.report
assert report.microseconds > 0 and all(row.microseconds > 0 for row in report.rows)
"""


def test_compiled_for_the_gpu_here_and_verified_on_it(
    v1: tuple[Compiled, str], tmp_path: Path
) -> None:
    kernels = kernels_on_cpu(v1[1])
    status, words = in_a_process(COMPILE, FAKE_CUDA_ARCH="80", FAKE_CUDA_KERNELS=str(kernels))
    assert status == 0, words
    target, relative = words.splitlines()
    assert target == "sm_80 Fake GPU"
    assert 0 < float(relative) < 1e-5


MODES = {
    "filled meanwhile": {"LIMIT": "1000000"},  # first: TVM keeps what it was given once
    "GPU": {},
    "later minor": {"ARCH": "86"},
    "no GPU": {"COUNT": "0"},
    "old driver": {"SPEAKS": "12040"},
    "earlier": {"ARCH": "75"},
    "later major": {"ARCH": "90"},
    "small": {"MEMORY": "100000"},
    "full": {"FREE": "1000"},
}
LOAD = """
import json, os, sys
import tvm_mobilenet.runtime as runtime
from tvm_mobilenet.errors import GpuError
for mode, settings in json.loads(sys.argv[2]).items():
    for name in ("ARCH", "COUNT", "SPEAKS", "MEMORY", "FREE", "LIMIT"):
        os.environ.pop(f"FAKE_CUDA_{name}", None)
    os.environ["FAKE_CUDA_ARCH"] = "80"
    os.environ.update({f"FAKE_CUDA_{name}": value for name, value in settings.items()})
    try:
        print(json.dumps([mode, "", repr(runtime.load(sys.argv[1]))]))
    except GpuError as error:
        print(json.dumps([mode, type(error).__name__, str(error)]))
"""


@pytest.fixture(scope="module")
def answers(v1: tuple[Compiled, str]) -> dict[str, tuple[str, str]]:
    status, words = in_a_process(LOAD, v1[0].path, json.dumps(MODES))
    assert status == 0, words
    rows = [json.loads(line) for line in words.splitlines() if line.startswith('["')]
    return {mode: (name, said) for mode, name, said in rows}


@pytest.mark.parametrize(
    ("mode", "name", "said"),
    [
        ("GPU", "", "on Fake GPU"),
        ("later minor", "", "on Fake GPU"),
        ("no GPU", "NoGpuError", "drives no GPU here"),
        ("old driver", "GpuDriverError", "speaks CUDA 12.4, and TVM's runtime needs CUDA 13.0"),
        ("earlier", "GpuArchitectureError", "machine code for sm_80, and Fake GPU is sm_75"),
        ("later major", "GpuArchitectureError", "compile it with --target sm_90"),
        ("small", "GpuMemoryError", "Fake GPU has 0.1 MiB"),
        ("full", "GpuMemoryError", "Fake GPU has free 0.0 MiB"),
        ("filled meanwhile", "GpuMemoryError", "for weights and maps"),
    ],
)
def test_what_a_gpu_cannot_run_is_refused_by_name(
    answers: dict[str, tuple[str, str]], mode: str, name: str, said: str
) -> None:
    assert answers[mode][0] == name
    assert said in answers[mode][1]


TAKE = """
import sys
import numpy as np
import tvm_ffi
import tvm_mobilenet.runtime as runtime
from tvm_mobilenet.errors import GpuError, InputError
module = runtime.load(sys.argv[1])
x = np.random.default_rng(0).standard_normal(module.inputs[0]["shape"], np.float32)
allocate = tvm_ffi.get_global_func("runtime.TVMTensorAllocWithScope")
there = allocate(tvm_ffi.Shape(x.shape), tvm_ffi.dtype("float32"), tvm_ffi.device(2, 0), None)
tvm_ffi.get_global_func("runtime.TVMTensorCopyFromTo")(tvm_ffi.from_dlpack(x), there)
np.testing.assert_array_equal(module(there), module(x))
small = allocate(tvm_ffi.Shape([1, 3]), tvm_ffi.dtype("float32"), tvm_ffi.device(2, 0), None)
half = allocate(tvm_ffi.Shape(x.shape), tvm_ffi.dtype("bfloat16"), tvm_ffi.device(2, 0), None)
for wrong in (small, half, x[:, :2], x.astype(np.float64), "x"):
    try:
        module(wrong)
    except InputError as error:
        print(str(error).splitlines()[0])
profile = module.profile(x, repeats=1)
assert len(profile.calls) == len(module.manifest["calls"]) and profile.total > 0
assert all(span > 0 for _, span in profile.calls)
module.launch()
module.synchronize()
assert runtime.load(sys.argv[1], device="fake").device == "Fake GPU"
try:
    runtime.load(sys.argv[1], device=1)
except GpuError as error:
    print(str(error).splitlines()[0])
"""


def test_inputs_on_either_side(v1: tuple[Compiled, str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    status, words = in_a_process(TAKE, v1[0].path, FAKE_CUDA_ARCH="80", FAKE_CUDA_LOG=str(log))
    assert status == 0, words
    said = words.splitlines()
    assert len(said) == 6, words
    assert all("expected float32 of shape (1, 3, 32, 32)" in line for line in said[:5])
    assert said[5].endswith("would run on Fake GPU, and 1 was asked for")
    assert "copy within" in log.read_text()
