"""MobileNet V2 and V3 as data: the papers' figures, torchvision's counts, branches."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_mobilenet.errors import InvalidModelError
from tvm_mobilenet.models import (
    build,
    mobilenet_v2,
    mobilenet_v3_large,
    model_from_manifest,
    reference,
)
from tvm_mobilenet.models.options import divisible
from tvm_mobilenet.models.spec import Add, Conv2d, Model, Scale, Softmax
from tvm_mobilenet.models.weights import initialize, load, save
from tvm_mobilenet.verify.artifact import sample_input

NAMES = ["v2", "v3-large", "v3-small"]


# torchvision's parameters (docs: "num_params") and GFLOPS, which are MACs, of the same networks.
@pytest.mark.parametrize(
    ("name", "macs", "params", "giga"),
    [
        ("v2", 300_774_272, 3_504_872, "0.30"),
        ("v3-large", 216_589_760, 5_483_032, "0.22"),
        ("v3-small", 56_510_400, 2_542_856, "0.06"),
    ],
)
def test_exact_counts(name: str, macs: int, params: int, giga: str) -> None:
    model = build(name)
    assert (model.macs, model.params) == (macs, params)
    assert f"{model.macs / 1e9:.2f}" == giga


# Millions. V2: arXiv 1801.04381, Table 4. V3: arXiv 1905.02244, Tables 3 to 5. Those count
# 1001 classes; for V2 1.4 they print 6.9 million parameters, torchvision has 6.1 as we do.
@pytest.mark.parametrize(
    ("name", "alpha", "macs", "params"),
    [
        ("v2", 1.0, 300, 3.4),
        ("v2", 1.4, 585, 6.1),
        ("v3-large", 1.0, 219, 5.4),
        ("v3-large", 0.75, 155, 4.0),
        ("v3-small", 1.0, 56, 2.5),
        ("v3-small", 0.75, 44, 2.0),
    ],
)
def test_paper_figures(name: str, alpha: float, macs: int, params: float) -> None:
    model = build(name, alpha=alpha)
    assert model.macs / 1e6 == pytest.approx(macs, rel=0.02)
    assert model.params / 1e6 == pytest.approx(params, rel=0.032)


@given(channels=st.integers(1, 4000).map(lambda n: Fraction(n, 3)))
def test_rounding_to_eight(channels: Fraction) -> None:
    rounded = divisible(channels)
    assert rounded % 8 == 0
    assert rounded >= Fraction(9, 10) * channels
    assert rounded == 8 or abs(rounded - channels) <= 8
    if channels % 8 == 0:
        assert rounded == channels


def test_channels_at_other_widths() -> None:
    """Those of torchvision's ``mobilenet_v2(width_mult=...)``."""

    def widths(alpha: float) -> list[int]:
        model = mobilenet_v2(alpha)
        ends = (1, 3, 6, 10, 13, 16, 17)
        blocks = [model.layer(f"block{n}.project").out_shape[1] for n in ends]
        return [model.layer("conv1").out_shape[1], *blocks, model.layer("last").out_shape[1]]

    assert widths(1.0) == [32, 16, 24, 32, 64, 96, 160, 320, 1280]
    assert widths(1.4) == [48, 24, 32, 48, 88, 136, 224, 448, 1792]
    assert widths(0.35) == [16, 8, 8, 16, 24, 32, 56, 112, 1280]


def test_a_block_of_v2() -> None:
    model = mobilenet_v2()
    names = [layer.name for layer in model.layers if layer.name.startswith("block3.")]
    assert names == ["block3.expand", "block3.dw", "block3.project", "block3.add"]
    add = model.layer("block3.add")
    assert isinstance(add, Add)
    assert add.inputs == ("block3.project", "block2.project")
    project = model.layer("block3.project")
    assert isinstance(project, Conv2d)
    assert project.activation == "none"
    # Nothing is expanded in the first, and nothing added where shapes differ.
    assert [layer.name for layer in model.layers[1:3]] == ["block1.dw", "block1.project"]
    assert sum(isinstance(layer, Add) for layer in model.layers) == 10


def test_a_block_of_v3() -> None:
    model = mobilenet_v3_large()
    names = [layer.name for layer in model.layers if layer.name.startswith("block5.")]
    parts = ["expand", "dw", "se.pool", "se.reduce", "se.expand", "se.scale", "project", "add"]
    assert names == [f"block5.{part}" for part in parts]
    scale = model.layer("block5.se.scale")
    assert isinstance(scale, Scale)
    assert scale.inputs == ("block5.dw", "block5.se.expand")
    assert model.layer("block5.se.reduce").out_shape == (1, 32, 1, 1)
    dw = model.layer("block5.dw")
    assert isinstance(dw, Conv2d)
    assert (dw.kernel, dw.padding, dw.activation) == ((5, 5), (2, 2, 2, 2), "relu")
    assert isinstance(model.layers[-1], Softmax)
    assert [layer.name for layer in model.layers[-5:]] == [
        "last", "pool", "hidden", "classifier", "softmax"
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@given(
    alpha=st.integers(1, 30).map(lambda n: n / 20),
    resolution=st.integers(32, 260),
    batch=st.integers(1, 3),
)
@settings(max_examples=30, deadline=None)
def test_any_width_and_any_resolution(name: str, alpha: float, resolution: int, batch: int) -> None:
    options = {"alpha": alpha, "resolution": resolution, "batch": batch}
    models = [build(name, padding=padding, **options) for padding in ("same", "symmetric")]
    final = math.ceil(resolution / 32)
    for model in models:
        assert model.layer("last").out_shape[2:] == (final, final)
        assert model_from_manifest(model.describe()) == model
    assert models[0].macs == models[1].macs


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_built(name: str) -> None:
    for options in ({"alpha": 0}, {"resolution": 31}, {"classes": 0}, {"padding": "valid"}):
        with pytest.raises(InvalidModelError):
            build(name, **options)


def test_layers_with_two_inputs_are_checked() -> None:
    shape = (1, 4, 2, 2)
    with pytest.raises(InvalidModelError, match="has 1 inputs, and takes 2"):
        Add("a", ("input",), shape)
    layers = (
        Conv2d("c", ("input",), shape, 8, (1, 1)),
        Add("a", ("input", "c"), shape),
    )
    with pytest.raises(InvalidModelError, match=r"takes \(1, 4, 2, 2\), but 'c' gives \(1, 8"):
        Model("m", "M", {}, shape, layers)
    with pytest.raises(InvalidModelError, match=r"takes \(1, 4, 1, 1\)"):
        Model("m", "M", {}, shape, (Scale("s", ("input", "input"), shape),))


@pytest.mark.parametrize("name", NAMES)
def test_drawn_weights_neither_die_nor_saturate(name: str) -> None:
    model = build(name, resolution=64, classes=50, batch=2)
    weights = initialize(model)
    values = reference.run(model, weights, sample_input(model.input_shape), keep_layers=True)
    for layer in model.layers:
        value = values[layer.name]
        assert np.abs(value).max() < 100, layer.name
        if isinstance(layer, Softmax):
            continue
        spread = value.std(axis=(0, 2, 3) if value.ndim == 4 and value.shape[2] > 1 else None)
        assert np.median(spread) > 0.1, layer.name
    assert 1 / 50 < values["softmax"].max() < 0.99


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_weights_are_saved_and_loaded(suffix: str, tmp_path: Path) -> None:
    model = build("v3-small", alpha=0.35, resolution=32, classes=5)
    weights = initialize(model, seed=3)
    path = tmp_path / f"w{suffix}"
    save(weights, path)
    again = load(path, model)
    assert list(again) == list(model.parameters)
    for name, array in weights.items():
        np.testing.assert_array_equal(again[name], array)
