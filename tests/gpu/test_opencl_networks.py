"""Whole networks through OpenCL: compiled, verified kernel by kernel, loaded, run, told apart."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from every_kind import every_kind
from onnx_nets import Net
from opencl import opencl_context

import tvm_mobilenet as tm
from tvm_mobilenet.artifact.sources import section_name
from tvm_mobilenet.errors import (
    GpuArchitectureError,
    GpuDriverError,
    GpuError,
    GpuMemoryError,
    InputError,
    NoGpuError,
    TruncatedArtifactError,
)
from tvm_mobilenet.models import reference
from tvm_mobilenet.runtime import opencl_device
from tvm_mobilenet.runtime.elf import open_binary, read_section
from tvm_mobilenet.runtime.opencl_device import VARIABLE, build, check_device, named_errors

PATH = os.environ.get("PATH", "").split(os.pathsep)
MODEL = tm.mobilenet_v1(alpha=0.25, resolution=32)
HOW: dict[str, Any] = {"target": "opencl", "records": False}


@pytest.fixture(scope="module", autouse=True)
def device() -> Any:
    return opencl_context().devices[0]


@pytest.fixture(scope="module")
def compiled() -> Any:
    return tm.compile(MODEL, **HOW)


@pytest.fixture(scope="module")
def artifact(compiled: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = compiled.export(tmp_path_factory.mktemp("opencl") / "v1.so")
    return path


def inputs_for(module: Any, count: int = 1) -> Any:
    shape = (count, *module.inputs[0]["shape"])
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def test_compiling_verifies_every_kernel(compiled: Any) -> None:
    assert compiled.manifest["verification"]["relative"] < 1e-5
    report = tm.verify(compiled.module)
    assert len(report.rows) >= 16
    assert report.passed


@pytest.mark.parametrize(
    "model",
    [
        tm.mobilenet_v2(alpha=0.35, resolution=32, batch=2),
        tm.mobilenet_v3_small(resolution=32),
        tm.build("v4-conv-small", alpha=0.5, resolution=33, classes=10),
        tm.build("mobileone-s0", resolution=32, classes=10),
    ],
    ids=["v2", "v3_small", "v4", "mobileone"],
)
def test_later_networks(model: Any) -> None:
    made = tm.compile(model, **HOW)
    assert made.manifest["verification"]["relative"] < 1e-5
    sources = {call["source"] for call in made.manifest["calls"]}
    assert sources == {"rule"}, "kernels of TVM's own in a network of ours"


def test_an_imported_network_with_operators_of_tvm_and_several_outputs(tmp_path: Path) -> None:
    net = Net((1, 3, 16, 16))
    x = net.act(net.norm(net.conv("image", 12, 3, strides=[2, 2])), "relu6", "clip")
    leaky = net.op("Softsign", net.add(net.conv(net.depthwise(x), 12), x))
    flat = net.op("Flatten", net.op("GlobalAveragePool", leaky))
    imported = tm.import_onnx(net.save(tmp_path / "net.onnx", flat, leaky))
    made = tm.compile(imported, **HOW)
    x = np.random.default_rng(2).standard_normal(imported.model.input_shape, np.float32)
    expected = imported.expected(x)
    for name, got in zip(imported.model.outputs, made.module(x), strict=True):
        assert reference.relative_error(got, expected[name]) < 1e-5, name


def test_a_network_of_every_kind_of_layer(tmp_path: Path) -> None:
    made = tm.compile(every_kind(tmp_path / "net.onnx"), **HOW)
    assert made.manifest["verification"]["relative"] < 1e-5
    assert {call["schedule"] for call in made.manifest["calls"] if call["layers"]} == {
        *("gpu.conv", "gpu.conv_blocked", "gpu.conv_transpose", "gpu.depthwise", "gpu.moves"),
        *("gpu.max_pool", "gpu.average_pool", "gpu.pointwise"),
    }


def test_it_runs_without_tvm(artifact: Path) -> None:
    program = f"""
import sys, numpy, tvm_mobilenet as tm
module = tm.load({str(artifact)!r})
print(module(numpy.zeros({tuple(tm.load(artifact).inputs[0]["shape"])!r}, "float32")).sum())
assert not {{"tvm", "tvm_ffi"}} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert abs(float(done.stdout) - 1.0) < 1e-5  # softmax


def test_threads_do_not_disturb_each_other(artifact: Path) -> None:
    module = tm.load(artifact)
    inputs = inputs_for(module, 4)
    alone = [module(x) for x in inputs]
    wrong: list[int] = []

    def repeat(number: int) -> None:
        for _ in range(10):
            if not np.array_equal(module(inputs[number]), alone[number]):
                wrong.append(number)

    threads = [threading.Thread(target=repeat, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len({out.tobytes() for out in alone}) == 4


def test_what_it_takes_and_tells(artifact: Path, device: Any) -> None:
    module = tm.load(artifact, device=device.name[:5].upper())
    (x,) = inputs_for(module)
    np.testing.assert_array_equal(module(np.asfortranarray(x)), module(x))
    with pytest.raises(InputError, match="NHWC"):
        module(x.transpose(0, 2, 3, 1))
    profile = module.profile(x, 10)
    assert [call["kernel"] for call, _ in profile.calls] == [
        call["kernel"] for call in module.manifest["calls"]
    ]
    assert all(time > 0 for _, time in profile.calls)
    assert sum(time for _, time in profile.calls) < 2 * profile.total
    kernels = module.kernels(x)
    assert len(kernels) == len(profile.calls)
    assert kernels.alone(0) > 0
    assert device.name in repr(module)


def test_a_fork_is_told_to_load_again(artifact: Path) -> None:
    module = tm.load(artifact)
    module._process = os.getpid() + 1
    with pytest.raises(GpuError, match="forked"):
        module(inputs_for(module)[0])


def test_no_device_no_platform_no_package(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyopencl as cl

    with pytest.raises(NoGpuError, match="there is no OpenCL device 'Voodoo' here; there are 0: "):
        tm.load(artifact, device="Voodoo")
    monkeypatch.setenv(VARIABLE, "99")
    with pytest.raises(NoGpuError, match="'99'"):
        tm.load(artifact)
    platform = SimpleNamespace(name="Empty", get_devices=list)
    monkeypatch.setattr(cl, "get_platforms", lambda: [platform])
    with pytest.raises(NoGpuError, match="its platforms: Empty"):
        tm.load(artifact)

    def none() -> Any:
        raise cl.LogicError("clGetPlatformIDs", cl.status_code.PLATFORM_NOT_FOUND_KHR)

    monkeypatch.setattr(cl, "get_platforms", none)
    with pytest.raises(NoGpuError, match="no OpenCL platform"):
        tm.load(artifact)
    monkeypatch.setitem(sys.modules, "pyopencl", None)
    with pytest.raises(NoGpuError, match=r"pip install 'tvm-mobilenet\[opencl\]'"):
        tm.load(artifact)


def test_compiling_without_a_device_is_compiling_unverified(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opencl_device, "find_device", lambda _: 1 / 0)
    monkeypatch.setitem(sys.modules, "pyopencl", None)
    made = tm.compile(MODEL, **HOW | {"target": "opencl-mali"})
    assert made.manifest["verification"] is None


DEVICE = {
    "name": "Small",
    "extensions": "cl_khr_fp64",
    "max_work_group_size": 1024,
    "max_work_item_sizes": [1024, 1024, 64],
    "local_mem_size": 1 << 16,
    "global_mem_size": 1 << 30,
    "max_mem_alloc_size": 1 << 28,
}


@pytest.mark.parametrize(
    ("lacks", "dtype", "error", "said"),
    [
        ({}, "float16", GpuArchitectureError, "no cl_khr_fp16"),
        ({"max_work_group_size": 1}, "float32", GpuArchitectureError, "threads in a block"),
        ({"max_work_item_sizes": [1, 1, 1]}, "float32", GpuArchitectureError, "1 × 1 × 1"),
        ({"local_mem_size": -1}, "float32", GpuArchitectureError, "local memory"),
        ({"global_mem_size": 1 << 10}, "float32", GpuMemoryError, "smaller batch"),
        ({"max_mem_alloc_size": 1 << 10}, "float32", GpuMemoryError, "in one piece"),
    ],
)
def test_what_a_device_lacks_is_said_by_name(
    compiled: Any, lacks: dict[str, Any], dtype: str, error: type[Exception], said: str
) -> None:
    small = SimpleNamespace(**DEVICE)
    check_device(small, compiled.manifest, "it")
    manifest = compiled.manifest | {"target": compiled.manifest["target"] | {"dtype": dtype}}
    with pytest.raises(error, match=said):
        check_device(SimpleNamespace(**DEVICE | lacks), manifest, "it")


@pytest.mark.parametrize("end", ["inputs", "outputs"])
def test_half_precision_at_an_end_of_the_network_is_asked_for(compiled: Any, end: str) -> None:
    tensors = [tensor | {"dtype": "float16"} for tensor in compiled.manifest[end]]
    with pytest.raises(GpuArchitectureError, match="no cl_khr_fp16"):
        check_device(SimpleNamespace(**DEVICE), compiled.manifest | {end: tensors}, "it")


def test_a_driver_that_refuses_the_source_is_quoted() -> None:
    with pytest.raises(GpuDriverError, match="nowhere"):
        build(opencl_context(), "__kernel void f(__global float* x) { x[0] = nowhere; }", "it")


def test_memory_that_runs_out_is_named() -> None:
    import pyopencl as cl

    code = cl.status_code.MEM_OBJECT_ALLOCATION_FAILURE
    failed = cl.MemoryError(cl._cl._ErrorRecord("clEnqueueNDRangeKernel", code, ""))
    with pytest.raises(GpuMemoryError, match="smaller batch"), named_errors("it"):
        raise failed
    failed = cl.Error(cl._cl._ErrorRecord("clFinish", cl.status_code.DEVICE_NOT_AVAILABLE, ""))
    with pytest.raises(GpuError, match="clFinish"), named_errors("it"):
        raise failed


def test_metal_is_source_and_a_plan(tmp_path: Path) -> None:
    made = tm.compile(MODEL, **HOW | {"target": "metal"})
    assert made.manifest["verification"] is None
    path = made.export(tmp_path / "metal.so")
    with open_binary(path) as file:
        source = read_section(file, path, section_name("source")).decode()
    for call in made.manifest["plan"]["calls"]:
        for launch in call["launches"]:
            assert f"kernel void {launch['kernel']}(" in source
    with pytest.raises(NoGpuError, match="for metal"):
        tm.load(path)


def test_float16_is_opencl_c_too(tmp_path: Path) -> None:
    """PoCL here computes with no halves; clang knows them."""
    made = tm.compile(MODEL, **HOW, dtype="float16")
    assert {call["stored"] for call in made.manifest["calls"]} == {"float16"}
    source = tmp_path / "float16.cl"
    with open_binary(made.path) as file:
        source.write_bytes(read_section(file, made.path, section_name("source")))
    compilers = sorted(path for folder in PATH for path in Path(folder).glob("clang-[0-9]*"))
    compilers = [path for path in compilers if path.name.removeprefix("clang-").isdecimal()]
    if not compilers:
        pytest.skip("no clang, which knows OpenCL's halves: apt install clang")
    header = ["-Xclang", "-finclude-default-header"]
    command = [compilers[-1], "-x", "cl", "-cl-std=CL1.2", *header, "-target", "spir64"]
    done = subprocess.run(
        [*command, "-fsyntax-only", "-Werror", source], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"half8" in source.read_bytes()


def test_a_damaged_file_is_refused(artifact: Path, tmp_path: Path) -> None:
    data = bytearray(artifact.read_bytes())
    data[data.index(b"__kernel")] ^= 1
    (tmp_path / "a.so").write_bytes(data)
    with pytest.raises(TruncatedArtifactError):
        tm.load(tmp_path / "a.so")
