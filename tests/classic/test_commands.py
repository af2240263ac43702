"""The command line inside the classic stack's environment, and ONNX files through it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import run
from onnx_nets import Net

import tvm_mobilenet as tm
from tvm_mobilenet.models.network import network_from
from tvm_mobilenet.runtime.artifact import read_manifest, write_manifest
from tvm_mobilenet.verify.artifact import verify


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classic") / "v1.so"
    made = run(
        *("--stack", "relay", "compile", "v1", "--alpha", 0.25, "--resolution", 32),
        *("--classes", 10, "-o", path),
    )
    assert made.returncode == 0, made.stderr
    assert "te.pointwise" in made.stdout
    assert "verified: relative error" in made.stdout
    return path


def test_verify_run_bench_and_profile_know_the_artifact(artifact: Path, tmp_path: Path) -> None:
    from PIL import Image

    assert json.loads(run("verify", artifact, "--json").stdout)["passed"]
    photograph = tmp_path / "photo.png"
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(photograph)
    classified = run("run", artifact, photograph, "--top", 2)
    assert classified.returncode == 0, classified.stderr
    timed = run("bench", artifact, "--rounds", 1, "--seconds", 0.05, "--json")
    assert timed.returncode == 0, timed.stderr
    profiled = run("profile", artifact, "--threads", 1, "--repeats", 2, "--json")
    assert profiled.returncode == 0, profiled.stderr


def test_an_artifact_of_the_main_stack_says_what_it_needs(artifact: Path, tmp_path: Path) -> None:
    other = tmp_path / "relax.so"
    other.write_bytes(artifact.read_bytes())
    changes = {"stack": "relax", "container": "vm", "tvm_ffi": "0.1.14"}
    write_manifest(other, {**read_manifest(other), **changes})
    done = run("verify", other)
    assert done.returncode == 2
    assert "needs apache-tvm" in done.stderr
    assert "Traceback" not in done.stderr


def saved(folder: Path, *, dilated: bool = False) -> Path:
    """Layers of ours, and between them what only Relay has."""
    made = Net((1, 3, 16, 16))
    value = made.conv("image", 12, 3, bias=True, strides=[2, 2])
    value = made.op("Softsign", value)
    value = made.op("Relu", made.conv(value, 20, 1))
    gaps = {"dilations": [2, 2]}
    value = made.op("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2], **gaps)
    if dilated:
        value = made.op("Elu", value)
        value = made.conv(value, 20, 3, dilations=[2, 2], pads=[2, 2, 2, 2])
    # Its weights are floats that TVM computes once: lets.
    value = made.conv(value, 8, 1)
    value = made.op("Resize", value, "", made.const([1, 1, 2, 2]), mode="linear")
    value = made.op("GlobalAveragePool", value)
    return made.save(folder / "net.onnx", made.op("Flatten", value))


def test_an_onnx_file_is_right_with_relays_operators_between_ours(tmp_path: Path) -> None:
    net = saved(tmp_path, dilated=True)
    compiled = tm.compile(net)
    assert compiled.manifest["verification"]["relative"] < 1e-5
    ours = [call for call in compiled.manifest["calls"] if call["source"] != "fallback"]
    assert [call["operator"] for call in ours] == ["conv", "pointwise", "pointwise", "pool"]
    named = {name: call for call in compiled.manifest["calls"] for name in call["layers"]}
    network = network_from(net, None, 0)
    assert list(named) == [layer.name for layer in network.model.layers]
    kernels = {call["kernel"]: call for call in named.values() if call["source"] == "fallback"}
    softsign, pooled, blocked, resized = kernels.values()
    assert "divide" in softsign["kernel"]
    assert "conv2d_NCHWc" in blocked["kernel"]
    assert "take" in resized["kernel"]
    # Written in our blocks, plain, in Relay's blocks, in ours: only plain ones can be compared.
    layouts = [call["output"]["layout"] for call in kernels.values()]
    assert layouts == ["other", "NCHW", "other", "other"]
    assert len(pooled["layers"]) == 2
    rows = verify(compiled.module, network.model, network.weights).rows
    assert tuple(pooled["layers"]) in {row.layers for row in rows}


def test_an_onnx_file_for_another_processor_is_checked_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relay's operators run on this machine; one that is wrong is not written."""
    from tvm_mobilenet.emit.relay import on_host

    net = tm.import_onnx(saved(tmp_path))
    checked = tm.compile(net, target="rpi4").manifest["host_check"]
    assert checked["unjudged"] == []
    assert checked["operators"] > 0
    right = on_host.imported
    monkeypatch.setattr(on_host, "imported", lambda *of: -right(*of))
    with pytest.raises(tm.TvmMobilenetError, match=r"TVM's .* is wrong"):
        tm.compile(net, verify=False)


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_an_input_stays_what_the_file_says(dtype: str, tmp_path: Path) -> None:
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    net = Net((1, 3, 8, 8), opset=13, dtype=kind)
    value = net.op("Div", net.op("Cast", "image", to=onnx.TensorProto.FLOAT), net.const(58.0))
    net.channels[value] = 3
    compiled = tm.compile(net.save(tmp_path / "net.onnx", net.conv(value, 8, 3)))
    assert compiled.manifest["inputs"][0]["dtype"] == dtype
    assert compiled.manifest["verification"]["relative"] < 1e-5
    assert compiled.module(np.full((1, 3, 8, 8), 58, dtype)).shape == (1, 8, 8, 8)


def test_old_spellings_and_a_network_without_weights(tmp_path: Path) -> None:
    """Axes as attributes and as inputs, of all of which Relay's importer would read the first."""
    x = np.random.default_rng(0).random((1, 3, 6, 8), np.float32)
    for opset in (7, 18):
        made = Net(x.shape, opset)
        axes = [made.const([1, -1], np.int64)] if opset == 18 else []
        given = {} if axes else {"axes": [1, -1]}
        outputs = [made.op(f"Reduce{kind}", "image", *axes, **given) for kind in ("Mean", "L2")]
        outputs.append(made.op("ReduceMean", "image", keepdims=0))
        high = [made.op("Clip", "image", max=0.5)] if opset == 7 else []
        outputs += high or [made.op("Clip", "image", "", made.const(0.5))]
        found = tm.compile(made.save(tmp_path / "net.onnx", *outputs)).module(x)
        norms = np.sqrt((x * x).sum((1, 3), keepdims=True))
        wanted = (x.mean((1, 3), keepdims=True), norms, x.mean(), x.clip(max=0.5))
        for got, want in zip(found, wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5)
