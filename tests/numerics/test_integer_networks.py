"""Networks in integers, compiled: bit for bit what the integer reference computes."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from integer_kernels import skip_unless_here
from integer_networks import (
    joined_network,
    odd_network,
    older_network,
    pixel_network,
    quantized,
)

import tvm_mobilenet as tm
from tvm_mobilenet.artifact.native_header import NATIVE
from tvm_mobilenet.errors import QuantizationError, VerificationError
from tvm_mobilenet.machine import parse
from tvm_mobilenet.models import build
from tvm_mobilenet.models.network import Network
from tvm_mobilenet.models.quantized import reference
from tvm_mobilenet.models.quantized.model import QuantizedModel
from tvm_mobilenet.models.quantized.storing import stored_as
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.prediction.fusion import Fusion
from tvm_mobilenet.verify.artifact import sample_input
from tvm_mobilenet.verify.integers import verify_integers

PROGRAM = Path(__file__).parents[1] / "native" / "program.c"
I8MM = "aarch64-linux-gnu --mcpu=cortex-a76 --mattr=+i8mm"
ARM = {
    I8MM: "aarch64-linux-gnu",
    "rpi5": "aarch64-linux-gnu",
    "rpi4": "aarch64-linux-gnu",
    "rpi2": "arm-linux-gnueabihf",
}
"""SMMLA, SDOT, plain NEON and 32-bit NEON."""

CORES = {I8MM: "max", "rpi5": "max", "rpi4": "cortex-a72", "rpi2": "cortex-a7"}


@pytest.mark.parametrize("fusion", ["all", "none"])
@pytest.mark.parametrize("target", ["native", "x86-64-v4", "x86-64-v3", "x86-64-v2"])
def test_odd_sizes(target: str, fusion: Fusion) -> None:
    """Compiling verifies: no element of any kernel may differ, whole networks neither."""
    skip_unless_here(target)
    made = odd_network()
    module = tm.compile(made, target=target, fusion=fusion).module
    plan = plan_network(made.model, parse(target), records=made.records, fusion=fusion)
    assert plan.integers is not None
    assert any(call.work.operator == "qseparable" for call in plan.calls) == (fusion != "none")
    report = verify_integers(module, plan.integers, made.weights)
    assert {row.judge for row in report.rows} == {"integers", "reference"}
    assert {row.alone for row in report.rows if row.judge == "integers"} == {0.0}


@pytest.mark.parametrize("name", ["v2", "v3-small"])
def test_built_in_networks_on_two_threads(name: str) -> None:
    made = quantized(build(name, resolution=32, alpha=0.35 if name == "v2" else 0.5, batch=3))
    module = tm.compile(made, target=parse("native", cores=2)).module
    x = sample_input(made.model.input_shape, 7)
    want = reference.run(QuantizedModel(made.model, made.records), made.weights, x)
    np.testing.assert_allclose(module(x), want[made.model.outputs[0]], rtol=1e-5)


def test_layers_in_float_between() -> None:
    """Islands: elements become numbers and again elements, in blocks or not."""
    made = odd_network(1, keep=("p2", "f1", "s2"))
    report = tm.compile(made, target="native").report
    assert report is not None
    names = {layer.name for layer in made.model.layers}
    assert {"d2.dequantized", "p2.quantized", "f1.quantized"} <= names


@pytest.mark.parametrize("target", ["native", "x86-64-v4", "x86-64-v3", "x86-64-v2"])
def test_raw_pixels(target: str) -> None:
    """The first kernel reads the image as it lies; compiling verifies, to the last element."""
    skip_unless_here(target)
    made = pixel_network()
    compiled = tm.compile(made, target=target)
    assert compiled.manifest["calls"][0]["layers"] == ["input.pixels", "c1"]
    assert compiled.manifest["inputs"][0]["dtype"] == "uint8"
    assert compiled.manifest["preprocess"]["mean"] == [0.0, 0.0, 0.0]
    x = sample_input(made.model.input_shape, 5, dtype="uint8")
    want = reference.run(QuantizedModel(made.model, made.records), made.weights, x)["y"]
    np.testing.assert_array_equal(compiled.module(x), want)


@pytest.mark.parametrize("target", ["native", "x86-64-v4", "x86-64-v3", "x86-64-v2"])
def test_pools_joins_and_groups(target: str) -> None:
    """They compute in integers between convolutions: nothing becomes float32 on the way."""
    skip_unless_here(target)
    compiled = tm.compile(joined_network(), target=target)
    kernels = [call["kernel"].partition("_")[0] for call in compiled.manifest["calls"]]
    assert kernels == [
        *("quantize", "qconv", "qlargest", "qpointwise", "qpointwise", "qmean", "qpointwise"),
        *("qconcat", "qpointwise", "qlargest", "qpointwise", "plain"),
    ]


@pytest.mark.parametrize("fusion", ["all", "none"])
@pytest.mark.parametrize("target", ["native", "x86-64-v3", "x86-64-v2"])
def test_weights_of_nine_bits(target: str, fusion: Fusion) -> None:
    """Elements of uint8 less their zero point, as older files have them; compiling verifies."""
    skip_unless_here(target)
    made = older_network(1)
    weight = made.weights["p1.weight"].astype(int) - 151
    assert (weight.min(), weight.max()) == (-151, 104)
    compiled = tm.compile(made, target=target, fusion=fusion)
    x = sample_input(made.model.input_shape, 5)
    found = reference.run(QuantizedModel(made.model, made.records), made.weights, x)
    np.testing.assert_array_equal(compiled.module(x), found[made.model.outputs[0]])
    assert min(len(np.unique(found[name])) for name in ("y", "z")) > 5


@pytest.mark.parametrize("target", ARM)
def test_on_arm(target: str, tmp_path: Path) -> None:
    made = odd_network(softmax=False)
    # Two neighbours of -128, which only files have, times two elements of -128: 1 << 15.
    weight = made.weights["p1.weight"].copy()
    weight[::2] = -128
    emulated(
        dataclasses.replace(made, weights=made.weights | {"p1.weight": weight}), target, tmp_path
    )


@pytest.mark.parametrize("made", [pixel_network, joined_network, older_network])
@pytest.mark.parametrize("target", ARM)
def test_others_on_arm(target: str, made: Callable[[], Network], tmp_path: Path) -> None:
    emulated(made(), target, tmp_path)


def emulated(made: Network, target: str, tmp_path: Path) -> None:
    """Hold what a network computes on an emulated processor to the reference, bit for bit."""
    triple = ARM[target]
    emulator = shutil.which(f"qemu-{triple.partition('-')[0]}-static")
    compiler = shutil.which(f"{triple}-gcc")
    if emulator is None or compiler is None:
        pytest.skip(f"no emulated ARM: apt install qemu-user-static gcc-{triple}")
    board = tm.compile(made, target=target, emit="a")
    archive = board.export(tmp_path / "libnet.a")
    x = sample_input(made.model.input_shape, 3, dtype=made.model.input_dtype)
    x.tofile(tmp_path / "in.bin")
    options = ["-static", "-std=c11", "-D_ISOC11_SOURCE", "-pthread", f"-I{NATIVE}"]
    parts = [str(PROGRAM), str(archive), "-lm", "-o", str(tmp_path / "program")]
    subprocess.run([compiler, *options, *parts], check=True)
    files = [str(tmp_path / "in.bin"), str(tmp_path / "out.bin")]
    command = [emulator, "-cpu", CORES[target], str(tmp_path / "program"), "2", "own", *files]
    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)
    network = stored_as(QuantizedModel(made.model, made.records), "int8")
    want = reference.run(network, made.weights, x)[made.model.outputs[0]]
    np.testing.assert_array_equal(np.fromfile(tmp_path / "out.bin", np.float32), want.ravel())


def test_what_differs_is_named() -> None:
    made = odd_network(1)
    module = tm.compile(made, target="native").module
    plan = plan_network(made.model, parse("native"), records=made.records)
    other = made.weights | {"p1.bias": made.weights["p1.bias"] + np.float32(1)}
    assert plan.integers is not None
    with pytest.raises(VerificationError, match="p1"):
        verify_integers(module, plan.integers, other).check()


def test_what_has_no_kernel_is_refused() -> None:
    made = odd_network()
    with pytest.raises(QuantizationError, match="GPU"):
        tm.compile(made, target="sm_90")
    grouped = tuple(
        dataclasses.replace(layer, groups=12) if layer.name == "p4" else layer
        for layer in made.model.layers
    )
    model = dataclasses.replace(made.model, layers=grouped)
    with pytest.raises(QuantizationError, match="of 12 groups"):
        tm.compile(dataclasses.replace(made, model=model), target="native")


def test_explained() -> None:
    made = odd_network()
    told = tm.explain(made, target="x86-64-v3")
    assert told.total.cycles > 0
    assert {step.operator for step in told.steps} >= {"qseparable", "qconv", "qdense", "softmax"}
