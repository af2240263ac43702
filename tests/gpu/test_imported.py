"""An imported network of bytes, kernels that are not ours, two outputs, on every kind of GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cuda_on_cpu import kernels_on_cpu
from cuda_road import compiled_for_cuda, in_a_process
from onnx import TensorProto
from onnx_nets import Net
from opencl import opencl_context

import tvm_mobilenet as tm
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.importer import Imported

RUN = """
import sys
import numpy as np
import tvm_mobilenet.runtime as runtime
module = runtime.load(sys.argv[1])
x = np.load(sys.argv[2])
module(2 * x)
np.savez(sys.argv[3], *module(x))
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    net = Net((2, 3, 15, 11), dtype=TensorProto.UINT8)
    x = net.op("Mul", net.op("Cast", "image", to=TensorProto.FLOAT), net.const(1 / 255))
    net.channels[x] = 3
    x = net.act(net.norm(net.conv(x, 12, 3, strides=[2, 2])), "relu6")
    leaky = net.op("Softsign", net.act(net.depthwise(x), "relu6"))
    flat = net.op("Flatten", net.op("GlobalAveragePool", net.conv(leaky, 5, bias=True)))
    path = net.save(tmp_path_factory.mktemp("imported") / "net.onnx", leaky, flat)
    return tm.import_onnx(path)


def sample(imported: Imported) -> np.ndarray:
    shape = imported.model.input_shape
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def check(imported: Imported, found: list[np.ndarray]) -> None:
    expected = imported.expected(sample(imported))
    for name, got in zip(imported.model.outputs, found, strict=True):
        assert reference.relative_error(got, expected[name]) < 1e-5, name


def test_on_opencl(imported: Imported) -> None:
    opencl_context()
    made = tm.compile(imported, target="opencl")
    sources = {call["operator"]: call["source"] for call in made.manifest["calls"]}
    assert sources["Softsign"] == "fallback"
    assert sources["depthwise"] == "rule"
    check(imported, made.module(sample(imported)))


def test_on_tvms_cuda_runtime(imported: Imported, tmp_path: Path) -> None:
    compiled, source = compiled_for_cuda(imported, "sm_80")
    np.save(tmp_path / "x.npy", sample(imported))
    status, words = in_a_process(
        RUN,
        compiled.path,
        tmp_path / "x.npy",
        tmp_path / "found.npz",
        FAKE_CUDA_KERNELS=str(kernels_on_cpu(source)),
        FAKE_CUDA_LOG=str(tmp_path / "log"),
        FAKE_CUDA_ARCH="80",
    )
    assert status == 0, words
    with np.load(tmp_path / "found.npz") as arrays:
        check(imported, [arrays["arr_0"], arrays["arr_1"]])
    gpu = compiled.manifest["gpu"]
    assert (len(gpu["graphs"]), gpu["outside"]) == (1, 0)
