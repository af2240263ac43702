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
from tvm_mobilenet.runtime.artifact import read_manifest, write_manifest
from tvm_mobilenet.target import parse
from tvm_mobilenet.verify import sample_input


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
    write_manifest(other, {**read_manifest(other), "stack": "relax", "tvm_ffi": "0.1.14"})
    done = run("verify", other)
    assert done.returncode == 2
    assert "needs apache-tvm" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layers of ours, and between them what only Relay has."""
    made = Net((1, 3, 16, 16))
    value = made.conv("image", 12, 3, bias=True, strides=[2, 2])
    value = made.op("LeakyRelu", value, alpha=0.1)
    value = made.op("Relu", made.conv(value, 20, 1))
    value = made.op("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
    # Its weights are floats that TVM computes once: lets.
    value = made.conv(value, 8, 1)
    value = made.op("Resize", value, "", made.const([1, 1, 2, 2]), mode="linear")
    value = made.op("GlobalAveragePool", value)
    return made.save(tmp_path_factory.mktemp("onnx") / "net.onnx", made.op("Flatten", value))


def test_an_onnx_file_is_right_with_relays_operators_between_ours(net: Path) -> None:
    compiled = tm.compile(net)
    assert compiled.manifest["verification"]["relative"] < 1e-5
    ours = [call for call in compiled.manifest["calls"] if call["source"] != "fallback"]
    assert [call["operator"] for call in ours] == ["conv", "pointwise", "pointwise", "pool"]
    names = " ".join(call["kernel"] for call in compiled.manifest["calls"])
    assert "leaky_relu" in names
    assert "max_pool2d" in names
    assert "resize2d" in names


def test_what_relays_importer_makes_of_the_whole_file_takes_the_same_road(net: Path) -> None:
    import tvm
    from onnx.reference import ReferenceEvaluator
    from tvm import relay
    from tvm.contrib import graph_executor

    from tvm_mobilenet.relay.codegen import generate
    from tvm_mobilenet.relay.lower import lower

    target, model = parse("native"), onnx.load(net)
    mod, _ = relay.frontend.from_onnx(model, freeze_params=True)
    lowered = lower(mod["main"], target)
    assert [c.work.operator for c in lowered.calls] == ["conv", "pointwise", "pointwise", "pool"]

    generated = generate(lowered, ["out"], target, lambda _: None)
    graph = {key: value for key, value in generated.graph.items() if key != "parameters"}
    executor = graph_executor.create(json.dumps(graph), generated.library, tvm.cpu())
    x = sample_input((1, 3, 16, 16))
    executor.run(**lowered.parameters, image=x)
    (want,) = ReferenceEvaluator(model).run(None, {"image": x})
    np.testing.assert_allclose(executor.get_output(0).numpy(), want, rtol=1e-4, atol=1e-5)
