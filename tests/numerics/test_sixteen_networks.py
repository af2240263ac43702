"""Whole networks in 16 bits, here and on an emulated ARM; what cannot be is refused by name."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_nets import Net

import tvm_mobilenet as tm
from tvm_mobilenet.errors import StackError, TargetError
from tvm_mobilenet.machine import TargetSpec, host, parse
from tvm_mobilenet.machine.arithmetic import has_products
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.spec import INPUT, Conv2d, Model
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.verify.artifact import sample_input

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "tvm_mobilenet" / "artifact" / "native"
PROGRAM = ROOT / "tests" / "native" / "program.c"
BFDOT = "aarch64-linux-gnu --mattr=+bf16"

here = pytest.mark.skipif(
    not has_products(host().isa, host().needs, "bfloat16"),
    reason="this processor does not multiply bfloat16",
)


def off(got: Any, want: Any) -> float:
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


@here
@pytest.mark.parametrize("name", ["v1", "v3-small"])
def test_a_network_is_compiled_and_verified(name: str, tmp_path: Path) -> None:
    model = tm.build(name, alpha=0.375, resolution=32, classes=10)
    compiled = tm.compile(model, dtype="bfloat16")
    assert compiled.manifest["target"]["dtype"] == "bfloat16"
    assert {call["stored"] for call in compiled.manifest["calls"]} == {"bfloat16"}
    compiled.export(tmp_path / "net.so")
    module, x = tm.load(tmp_path / "net.so", threads=2), sample_input(model.input_shape, 3)
    want = reference.run(model, initialize(model), x)
    # The type costs something, and that is not the whole number's first digit.
    assert 1e-5 < off(module(x), want) < 5e-2
    report = tm.verify(module)
    assert report.passed
    assert len(report.rows) > 5


@here
def test_layers_of_tvms_own_read_and_write_plain_numbers(tmp_path: Path) -> None:
    """Bits become float32 before them, and numbers bits again behind."""
    net = Net((1, 3, 16, 12))
    one = net.act(net.conv("image", 3, 20), "relu")
    pooled = net.op("MaxPool", one, kernel_shape=[2, 2], strides=[2, 2])
    path = net.save(tmp_path / "net.onnx", net.conv(pooled, 24))
    compiled = tm.compile(path, dtype="bfloat16")
    kernels = [call["kernel"] for call in compiled.manifest["calls"]]
    assert any("bfloat16" in name and name.startswith("conv") for name in kernels)
    assert any("max_pool2d" in name for name in kernels)
    assert compiled.manifest["verification"]["relative"] < 5e-2


@pytest.mark.parametrize(
    ("name", "dtype", "target", "limit"),
    [
        ("v1", "bfloat16", BFDOT, 5e-2),
        ("v1", "float16", "rpi5", 2e-3),
        ("v2", "float16", "aarch64-linux-gnu --mattr=+fullfp16", 1e-2),
    ],
)
def test_on_arm(name: Any, dtype: Any, target: str, limit: float, tmp_path: Path) -> None:
    emulator = shutil.which("qemu-aarch64-static")
    compiler = shutil.which("aarch64-linux-gnu-gcc")
    if emulator is None or compiler is None:
        pytest.skip("no emulated ARM: apt install qemu-user-static gcc-aarch64-linux-gnu")
    model = tm.build(name, alpha=0.125 if name == "v1" else 0.35, resolution=32, classes=10)
    board = tm.compile(model, target=target, dtype=dtype, emit="a")
    archive, x = board.export(tmp_path / "libnet.a"), sample_input(model.input_shape, 3)
    x.tofile(tmp_path / "in.bin")
    options = ["-static", "-std=c11", "-D_ISOC11_SOURCE", "-pthread", f"-I{NATIVE}"]
    parts = [str(PROGRAM), str(archive), "-lm", "-o", str(tmp_path / "program")]
    subprocess.run([compiler, *options, *parts], check=True)
    files = [str(tmp_path / "in.bin"), str(tmp_path / "out.bin")]
    command = [emulator, "-cpu", "max", str(tmp_path / "program"), "2", "own", *files]
    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)
    got = np.fromfile(tmp_path / "out.bin", np.float32)
    assert 1e-5 < off(got, reference.run(model, initialize(model), x).ravel()) < limit


@pytest.mark.parametrize(
    ("target", "dtype", "says"),
    [
        ("x86-64-v4", "bfloat16", "'x86-64-v4' has no instruction that we multiply bfloat16 by"),
        ("rpi5", "bfloat16", "'rpi5' has no instruction that we multiply bfloat16 by"),
        ("sm_90", "bfloat16", "'bfloat16' is not one of a network's maps"),
        ("rpi4", "float16", "'rpi4' has no instruction that we multiply float16 by"),
        ("rpi5 --mattr=-fullfp16", "float16", "no instruction that we multiply float16 by"),
        ("arm-linux-gnueabihf --mattr=+fullfp16", "float16", "that we multiply float16 by"),
        ("x86_64-linux-gnu --mcpu=sapphirerapids", "float16", "that we multiply float16 by"),
    ],
)
def test_a_target_without_it_is_refused(target: str, dtype: Any, says: str) -> None:
    with pytest.raises(TargetError, match=says):
        parse(target, dtype=dtype)


@pytest.mark.parametrize(
    ("target", "dtype"), [("znver5", "bfloat16"), (BFDOT, "bfloat16"), ("rpi5", "float16")]
)
def test_a_target_says_what_it_stores(target: str, dtype: Any) -> None:
    spec = parse(target, dtype=dtype)
    assert spec.dtype == dtype
    assert TargetSpec.from_dict(spec.to_dict()) == spec
    assert "dtype" not in parse(target).to_dict()
    assert TargetSpec.from_dict(parse(target).to_dict()) == parse(target)


def test_what_does_not_know_it_says_so() -> None:
    spec, model = parse("znver5", dtype="bfloat16"), tm.build("v1", alpha=0.25, resolution=32)
    with pytest.raises(StackError):
        tm.compile(model, target=spec, stack="relay")


def test_filters_of_more_taps_than_are_added_up_in_float16_are_float32() -> None:
    shape, taps = (1, 16, 9, 9), {"padding": (3, 3, 3, 3), "groups": 16, "bias": True}
    layer = Conv2d("y", (INPUT,), shape, 16, (7, 7), **taps)
    model = Model("wide", "wide", {}, shape, (layer,))
    steps = tm.explain(model, target=parse("rpi5", dtype="float16")).steps
    assert not {step.operator for step in steps} & {"depthwise", "separable"}


@pytest.mark.parametrize(("target", "dtype"), [("znver5", "bfloat16"), ("rpi5", "float16")])
def test_explained(target: str, dtype: Any) -> None:
    model = tm.build("v1", alpha=0.25, resolution=64)
    steps = tm.explain(model, target=parse(target, dtype=dtype)).steps
    assert {step.operator for step in steps} >= {"conv", "separable", "dense", "softmax"}
