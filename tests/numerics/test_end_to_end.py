"""Whole networks at odd sizes: compiled, linked, loaded, and right layer by layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

import tvm_mobilenet as tm
from tvm_mobilenet.artifact.toolchain import find_linker
from tvm_mobilenet.compilation.manifest import describe
from tvm_mobilenet.emit.relax.pipeline import lower
from tvm_mobilenet.errors import ToolchainError
from tvm_mobilenet.machine import PRESETS, host, host_cpu_features, host_machine
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.network import Network
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.prediction.fusion import Fusion
from tvm_mobilenet.runtime.inputs import aligned_empty
from tvm_mobilenet.verify.artifact import sample_input

NETWORKS = [
    # alpha, resolution, batch, padding, target
    (1.0, 33, 1, "same", "native"),
    (0.75, 47, 2, "symmetric", "native"),
    (0.5, 97, 1, "same", "native"),
    (0.25, 131, 1, "symmetric", "native"),
    (0.125, 32, 3, "same", "native"),
    (0.34375, 38, 1, "same", "native"),  # 11 channels, then 22, 44, ...
    (0.03125, 35, 2, "symmetric", "native"),  # a single channel
    (0.75, 33, 1, "symmetric", "x86-64"),
    (0.25, 47, 3, "same", "x86-64-v2"),
    (0.5, 97, 2, "symmetric", "x86-64-v3"),
    (0.34375, 33, 1, "same", "x86-64-v3"),
    (0.25, 65, 1, "same", "x86-64-v4"),
]


@pytest.mark.parametrize(("alpha", "resolution", "batch", "padding", "target"), NETWORKS)
def test_right_at_odd_sizes(
    alpha: float, resolution: int, batch: int, padding: str, target: str
) -> None:
    if target != "native":
        spec = PRESETS[target]
        if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
            pytest.skip(f"this processor cannot run code for {target}")
    model = tm.mobilenet_v1(
        alpha=alpha, resolution=resolution, batch=batch, padding=padding, classes=17
    )
    compiled = tm.compile(model, target=target, seed=resolution)
    checked = compiled.manifest["verification"]
    assert checked["relative"] <= checked["tolerance"] <= 1e-5
    assert {call["source"] for call in compiled.manifest["calls"]} == {"rule"}
    # Another input than verification's, and no state left behind by a call.
    x = sample_input(model.input_shape, seed=1)
    want = reference.run(model, initialize(model, seed=resolution), x)
    first, second = compiled.module(x), compiled.module(x)
    assert reference.relative_error(first, want) < 1e-5
    np.testing.assert_array_equal(first, second)
    # The first convolution reads the caller's array where it is, at any address; with one
    # channel it is a depthwise layer, whose vectors want an aligned copy.
    raw = aligned_empty((x.size + 1,), np.float32)
    shifted = raw[1:].reshape(x.shape)
    shifted[:] = x
    np.testing.assert_array_equal(first, compiled.module(shifted))
    assert (compiled.manifest["inputs"][0]["alignment"] == 4) == (alpha > 1 / 32)


@pytest.mark.parametrize(
    ("name", "alpha", "resolution", "batch", "padding", "target", "fusion"),
    [
        ("v2", 1.0, 33, 1, "symmetric", "native", "none"),
        ("v2", 0.35, 97, 2, "same", "native", "all"),
        ("v2", 0.75, 64, 1, "same", "x86-64-v3", "auto"),
        ("v2", 0.1, 47, 1, "symmetric", "x86-64", "all"),
        ("v3-large", 0.75, 65, 1, "symmetric", "native", "all"),
        ("v3-large", 0.35, 32, 2, "same", "x86-64-v3", "none"),
        ("v3-small", 1.0, 47, 1, "same", "native", "auto"),
        ("v3-small", 0.5, 96, 3, "symmetric", "native", "all"),
        ("v3-small", 0.35, 64, 1, "symmetric", "x86-64-v2", "all"),
    ],
)
def test_later_models_are_right_and_all_ours(  # noqa: PLR0917  as pytest passes them
    name: str,
    alpha: float,
    resolution: int,
    batch: int,
    padding: str,
    target: str,
    fusion: Fusion,
) -> None:
    if target != "native":
        spec = PRESETS[target]
        if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
            pytest.skip(f"this processor cannot run code for {target}")
    model = tm.build(
        name, alpha=alpha, resolution=resolution, batch=batch, padding=padding, classes=17
    )
    compiled = tm.compile(model, target=target, seed=resolution, fusion=fusion)
    assert {call["source"] for call in compiled.manifest["calls"]} == {"rule"}
    computed = [layer for call in compiled.manifest["calls"] for layer in call["layers"]]
    assert computed == [layer.name for layer in model.layers]
    x = sample_input(model.input_shape, seed=1)
    want = reference.run(model, initialize(model, seed=resolution), x)
    assert reference.relative_error(compiled.module(x), want) < 1e-5
    np.testing.assert_array_equal(compiled.module(x), compiled.module(x))


@pytest.mark.parametrize("name", ["v2", "v3-large", "v3-small"])
@pytest.mark.parametrize("fusion", ["auto", "none"])
def test_explain_knows_every_kernel_of_later_models(name: str, fusion: Fusion) -> None:
    model = tm.build(name, resolution=64, classes=10)
    network = Network(model, initialize(model, 0), "seed:0")
    lowered = lower(plan_network(model, host(), fusion=fusion), network.weights)
    made = describe(network, host(), lowered, preprocess={})
    told = tm.explain(model, fusion=fusion, records=False)
    assert told.unpredicted == ()
    calls = {tuple(call["layers"]) for call in made["calls"]}
    fused = {step.layers for step in told.steps if step.choice is None or step.choice.fused}
    assert fused <= calls
    assert [name for step in told.steps for name in step.layers] == [
        layer.name for layer in model.layers
    ]


@pytest.mark.parametrize(
    ("target", "machine"),
    [
        ("rpi4", "EM_AARCH64"),
        ("rpi2", "EM_ARM"),
        ("riscv64", "EM_RISCV"),
    ],
)
def test_other_machines_get_their_own_artifact(target: str, machine: str, tmp_path: Path) -> None:
    model = tm.mobilenet_v1(alpha=0.25, resolution=33, classes=5)
    try:
        find_linker(PRESETS[target])
    except ToolchainError as error:
        pytest.skip(f"{error.what}: pip install 'tvm-mobilenet[cross]'")
    compiled = tm.compile(model, target=target)
    assert compiled.manifest["verification"] is None
    path = compiled.export(tmp_path / "model.so")
    with path.open("rb") as file:
        elf = ELFFile(file)
        assert elf["e_machine"] == machine
        assert elf["e_type"] == "ET_DYN"
