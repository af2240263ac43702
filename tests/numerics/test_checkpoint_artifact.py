"""A checkpoint of somebody else's, compiled: what it implies stays with the artifact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import tvm_mobilenet as tm
from tvm_mobilenet.models import Model, mobilenet_v1, model_from_manifest, reference
from tvm_mobilenet.models.checkpoints.names import NAMES
from tvm_mobilenet.models.weights import initialize


def test_epsilon_padding_and_recipe_are_kept(tmp_path: Path) -> None:
    asked = mobilenet_v1(0.25, 33, classes=10)
    weights = initialize(asked)
    # One layer's values so small that its epsilon is told from another.
    for part, scale in (("weight", 1e-2), ("bn.mean", 1e-2), ("bn.variance", 1e-4)):
        weights[f"block13.pw.{part}"] *= scale
    names = NAMES["timm"][asked.name].of(asked)
    path = tmp_path / "mine.safetensors"
    save_file({theirs: weights[ours] for ours, (theirs, _) in names.items()}, path)
    artifact = tmp_path / "m.so"
    compiled = tm.compile(asked, weights=path, preprocess={"interpolation": "bicubic"})
    compiled.export(artifact)
    manifest = tm.load(artifact).manifest
    kept = model_from_manifest(manifest["model"])
    assert kept == mobilenet_v1(0.25, 33, classes=10, padding="symmetric", epsilon=1e-5)
    assert manifest["preprocess"]["interpolation"] == "bicubic"
    assert manifest["weights"]["source"] == str(path)
    assert tm.verify(artifact).passed

    x = np.random.default_rng(0).normal(size=asked.input_shape).astype(np.float32)
    found = tm.load(artifact)(x)

    def error(model: Model) -> float:
        return reference.relative_error(found, reference.run(model, weights, x))

    assert error(kept) < 1e-5
    assert error(asked) > 1e-2
