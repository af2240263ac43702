"""Whole networks with layers that share kernels: right for every size, target and rule."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from tvm_mobilenet import api
from tvm_mobilenet.machine import PRESETS, parse
from tvm_mobilenet.models import mobilenet_v1, reference
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.prediction.fusion import Fusion

# (alpha, resolution, batch, padding): odd maps, single pixels, channels below a vector.
MODELS: list[tuple[float, int, int, Any]] = [
    (0.25, 33, 1, "same"),
    (0.375, 47, 2, "symmetric"),
    (0.25, 64, 2, "same"),
    (0.375, 97, 1, "symmetric"),
    (0.25, 97, 1, "same"),
]
# Whole networks by rule, at other sizes: test_end_to_end.py.
CASES = [(*model, fusion) for model in MODELS[:2] for fusion in ("none", "all", "auto")]
CASES += [(*model, "all") for model in MODELS[2:]]


def _output(model: Any, target: Any, fusion: Fusion) -> tuple[Any, Any]:
    compiled = api.compile(model, target=target, fusion=fusion, seed=3, verify=False)
    weights = initialize(model, seed=3)
    report = api.verify(compiled.module, weights)
    report.check()
    rng = np.random.default_rng(1)
    x = rng.standard_normal(model.input_shape).astype(np.float32)
    want = reference.run(model, weights, x)
    assert reference.relative_error(compiled.module(x), want) < 1e-5
    return compiled, report


@pytest.mark.parametrize(("alpha", "resolution", "batch", "padding", "fusion"), CASES)
def test_small_networks(
    alpha: float, resolution: int, batch: int, padding: Any, fusion: Fusion
) -> None:
    model = mobilenet_v1(alpha, resolution, classes=21, batch=batch, padding=padding)
    compiled, report = _output(model, "native", fusion)
    layers = [name for row in report.rows for name in row.layers]
    assert layers == [layer.name for layer in model.layers]
    shared = [row.layers for row in report.rows if len(row.layers) > 1]
    if fusion == "none":
        assert not shared
    if fusion == "all":
        blocks = [(f"block{i}.dw", f"block{i}.pw") for i in range(1, 13)]
        assert shared == [*blocks, ("block13.pw", "pool", "classifier")]
    assert sum(call["macs"] for call in compiled.manifest["calls"]) == model.macs


@pytest.mark.parametrize(
    ("name", "cores"), [("x86-64-v3", 1), ("x86-64-v3", 3), ("x86-64", 2), ("x86-64", 3)]
)
def test_other_processors(name: str, cores: int) -> None:
    model = mobilenet_v1(0.25, 65, classes=33)
    _output(model, dataclasses.replace(PRESETS[name], cores=cores), "all")


def test_every_candidate_says_why() -> None:
    compiled, _ = _output(mobilenet_v1(0.25, 64, classes=10), parse("native"), "auto")
    candidates = [call for call in compiled.manifest["calls"] if "fusion" in call]
    assert len(candidates) >= 13
    for call in candidates:
        assert call["fusion"]["fused"] is (len(call["layers"]) > 1)
        assert call["fusion"]["why"]
