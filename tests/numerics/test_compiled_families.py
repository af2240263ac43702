"""MobileNet V4, EfficientNet-Lite, MnasNet and MobileOne: our kernels alone compute them, right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tvm_mobilenet as tm
from tvm_mobilenet.machine import parse
from tvm_mobilenet.models import SHORT_NAMES, reference
from tvm_mobilenet.models.quantized import reference as integers
from tvm_mobilenet.models.quantized.model import QuantizedModel
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.verify.artifact import sample_input


@pytest.mark.parametrize("target", ["znver5", "rpi4", "sm_90"])
@pytest.mark.parametrize("name", SHORT_NAMES)
def test_every_layer_has_a_kernel_of_ours(name: str, target: str) -> None:
    plan = plan_network(tm.build(name, resolution=64), parse(target))
    assert len(plan.calls) == len(plan.steps)


@pytest.mark.parametrize(
    ("name", "resolution", "options"),
    [
        ("v4-conv-small", 33, {"alpha": 0.5, "batch": 2}),
        ("v4-conv-medium", 47, {"alpha": 0.35, "padding": "same"}),
        ("efficientnet-lite0", 65, {"padding": "same"}),
        ("mnasnet-a1", 49, {"alpha": 0.75}),
        ("mnasnet-b1", 33, {"alpha": 0.5, "batch": 2}),
        ("mobileone-s0", 63, {}),
        ("mobileone-s4", 32, {}),
    ],
)
def test_compiled_networks_are_right(name: str, resolution: int, options: dict[str, Any]) -> None:
    model = tm.build(name, resolution=resolution, classes=17, **options)
    compiled = tm.compile(model, seed=resolution)
    calls = compiled.manifest["calls"]
    assert [layer for call in calls for layer in call["layers"]] == [
        layer.name for layer in model.layers
    ]
    assert {call["source"] for call in calls} == {"rule"}
    x = sample_input(model.input_shape, seed=1)
    want = reference.run(model, initialize(model, seed=resolution), x)
    assert reference.relative_error(compiled.module(x), want) < 1e-5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("v4-conv-small", {"alpha": 0.5}),
        ("efficientnet-lite0", {}),
        ("mnasnet-a1", {"alpha": 0.5}),
        ("mobileone-s0", {}),
    ],
)
def test_in_integers(name: str, options: dict[str, Any]) -> None:
    """Compiling verifies every kernel bit for bit; here the whole network."""
    model = tm.build(name, resolution=33, classes=17, **options)
    images = [sample_input(model.input_shape, seed)[0] for seed in range(4)]
    network, _ = tm.quantize(model, images)
    compiled = tm.compile(network)
    assert {call["source"] for call in compiled.manifest["calls"]} == {"rule"}
    x = sample_input(model.input_shape, seed=9)
    quantized = QuantizedModel(network.model, network.records)
    want = integers.run(quantized, network.weights, x)[network.model.outputs[0]]
    np.testing.assert_allclose(compiled.module(x), want, rtol=1e-5)
    floats = reference.run(model, initialize(model), x)
    assert np.abs(np.asarray(want) - floats).max() < 0.1
