"""One file, two doors: a C program gets what TVM's virtual machine gets, bit for bit."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_nets
import pytest

import tvm_mobilenet as tm
from tvm_mobilenet.artifact.linking import NATIVE

GCC = shutil.which("gcc")
pytestmark = pytest.mark.skipif(GCC is None, reason="no C compiler: apt install gcc")

PROGRAM = Path(__file__).with_name("program.c")
BUILT_IN: dict[str, Callable[[], Any]] = {
    "v1": lambda: tm.mobilenet_v1(alpha=0.25, resolution=128),
    "v2": lambda: tm.mobilenet_v2(alpha=0.35, resolution=96),
    "v3": lambda: tm.mobilenet_v3_small(resolution=64),
    "batch": lambda: tm.mobilenet_v1(alpha=0.25, resolution=32, batch=2),
}


def network(name: str, folder: Path) -> Any:
    """Build a network by its name: "foreign" has kernels of TVM's own, views, four outputs."""
    if name in BUILT_IN:
        return BUILT_IN[name]()
    net = onnx_nets.Net()
    x = net.act(net.conv("image", 8, 3, bias=True), "relu6")
    y = net.op("Sigmoid", net.conv(x, 24))
    pooled = net.op("GlobalAveragePool", y)
    flat = net.op("Flatten", pooled)
    return net.save(folder / "foreign.onnx", y, flat, net.op("Tanh", flat), x)


@pytest.fixture(scope="module", params=[*BUILT_IN, "foreign"])
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    compiled = tm.compile(network(request.param, folder), target="native")
    path: Path = compiled.export(folder / "model.so")
    return path


def program(artifact: Path) -> Path:
    """Compile the program for an artifact, as strictly as a user may."""
    made = artifact.with_name("program")
    if not made.exists():
        strict = ["-std=c11", "-D_ISOC11_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1"]
        link = [f"-I{NATIVE}", str(PROGRAM), str(artifact), f"-Wl,-rpath,{artifact.parent}"]
        subprocess.run(["gcc", *strict, *link, "-o", str(made)], check=True)
    return made


def through_c(artifact: Path, threads: int, how: str, x: Any) -> tuple[list[Any], int]:
    described = tm.load(artifact).manifest["outputs"]
    x.tofile(artifact.with_name("in.bin"))
    outputs = [artifact.with_name(f"out{number}.bin") for number in range(len(described))]
    files = map(str, [artifact.with_name("in.bin"), *outputs])
    done = subprocess.run(
        [str(program(artifact)), str(threads), how, *files], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    arrays = [
        np.fromfile(path, tensor["dtype"]).reshape(tensor["shape"])
        for path, tensor in zip(outputs, described, strict=True)
    ]
    return arrays, int(done.stdout)


def through_tvm(artifact: Path, threads: int, x: Any) -> list[Any]:
    found = tm.load(artifact, threads=threads)(x)
    return list(found) if isinstance(found, tuple) else [found]


@pytest.mark.parametrize("how", ["own", "given", "parts", "odd"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_numbers(artifact: Path, threads: int, how: str) -> None:
    shape = tm.load(artifact).manifest["inputs"][0]["shape"]
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    expected = through_tvm(artifact, threads, x)
    found, regions = through_c(artifact, threads, how, x)
    if "foreign" not in str(artifact):
        assert (regions > 0) == (how == "parts" and threads > 1)
    for a, b in zip(expected, found, strict=True):
        assert a.tobytes() == b.tobytes()
