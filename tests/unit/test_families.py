"""MobileNet V4, EfficientNet-Lite, MnasNet and MobileOne as data: timm's counts, the papers'."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tvm_mobilenet as tm
from tvm_mobilenet.errors import InvalidModelError
from tvm_mobilenet.models import SHORT_NAMES, build, model_from_manifest, reference
from tvm_mobilenet.models.spec import Activate, Conv2d, Dense, Model, Scale, Softmax
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.verify.artifact import sample_input

# Multiply-adds and parameters of timm 1.0.29, counted by hooks on its modules; MobileOne
# reparameterised. Where a line has no alpha the family has none.
COUNTS = """
v4-conv-small      1.0   224   186005568   3774024
v4-conv-small      0.5   224    64741408   2238952
v4-conv-small      0.35  224    47723040   1905384
v4-conv-medium     1.0   256  1080244224   9715512
v4-conv-medium     1.0   224   827649984   9715512
v4-conv-large      1.0   384  6376220672  32590864
v4-conv-large      1.0   256  2835269632  32590864
efficientnet-lite0 -     224   385187552   4652008
efficientnet-lite1 -     240   600185232   5416680
efficientnet-lite2 -     260   859736272   6092072
efficientnet-lite3 -     280  1383321872   8197096
efficientnet-lite3 -     300  1607554544   8197096
efficientnet-lite4 -     300  2553034336  13006568
efficientnet-lite4 -     380  3943564112  13006568
mnasnet-a1         0.5   224   103162992   2082006
mnasnet-a1         0.75  224   223448480   2912278
mnasnet-a1         1.0   224   311579072   3887038
mnasnet-a1         1.4   224   586317952   6105992
mnasnet-b1         0.5   224   104455968   2218512
mnasnet-b1         0.75  224   215493104   3170208
mnasnet-b1         1.0   224   314415872   4383312
mnasnet-b1         1.4   224   588799408   7115728
mobileone-s0       -     224   275110400   2078504
mobileone-s1       -     224   825057024   4764840
mobileone-s2       -     224  1298426496   7808168
mobileone-s3       -     224  1895790592  10078312
mobileone-s4       -     224  2979269760  14838352
"""

# Millions of multiply-adds and of parameters, and how far ours may be from them. MnasNet: arXiv
# 1807.11626, Table 1. MobileOne: 2206.04040, Tables 9 and 10. EfficientNet-Lite: the authors'
# README, whose operations are those of batch norm and pool too. V4: 2404.10518, Table 5, whose
# medium network is not quite the one that timm trained.
PAPERS = """
mnasnet-a1          312   3.9  0.01
mnasnet-b1          315   4.4  0.01
mobileone-s0        275   2.1  0.02
mobileone-s1        825   4.8  0.02
mobileone-s2       1299   7.8  0.02
mobileone-s3       1896  10.1  0.02
mobileone-s4       2978  14.8  0.02
efficientnet-lite0  407   4.7  0.06
efficientnet-lite1  631   5.4  0.06
efficientnet-lite2  899   6.1  0.06
efficientnet-lite3 1440   8.2  0.06
efficientnet-lite4 2640  13.0  0.06
v4-conv-small       200   3.8  0.08
v4-conv-medium     1000   9.2  0.09
v4-conv-large      5900  31.0  0.09
"""

NEW = [name for name in SHORT_NAMES if name not in {"v1", "v2", "v3-large", "v3-small"}]
SMALL = ["v4-conv-small", "efficientnet-lite0", "mnasnet-b1", "mobileone-s0"]


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().splitlines()]


@pytest.mark.parametrize(("name", "alpha", "resolution", "macs", "params"), lines(COUNTS))
def test_counts_are_timms(name: str, alpha: str, resolution: str, macs: str, params: str) -> None:
    width = {} if alpha == "-" else {"alpha": float(alpha)}
    model = build(name, resolution=int(resolution), **width)
    assert (model.macs, model.params) == (int(macs), int(params))


def test_every_family_is_counted() -> None:
    assert {name for name, *_ in lines(COUNTS)} == set(NEW)


@pytest.mark.parametrize(("name", "macs", "params", "within"), lines(PAPERS))
def test_paper_figures(name: str, macs: str, params: str, within: str) -> None:
    model = build(name)
    assert model.macs / 1e6 == pytest.approx(float(macs), rel=float(within))
    assert model.params / 1e6 == pytest.approx(float(params), rel=float(within))


def test_resolutions_are_the_authors() -> None:
    found = {name: build(name).resolution for name in NEW}
    assert [found[f"efficientnet-lite{n}"] for n in range(5)] == [224, 240, 260, 280, 300]
    assert [found[f"v4-conv-{size}"] for size in ("small", "medium", "large")] == [224, 256, 384]


def parts(model: Model, block: str) -> list[str]:
    return [layer.name.partition(".")[2] for layer in model.layers if layer.name.startswith(block)]


def conv(model: Model, name: str) -> Conv2d:
    layer = model.layer(name)
    assert isinstance(layer, Conv2d)
    return layer


def test_universal_inverted_bottlenecks() -> None:
    """Section 4: an extra depthwise layer, V2's block, ConvNeXt's and a plain FFN."""
    medium = build("v4-conv-medium")
    assert parts(medium, "block1.") == ["fused", "project"]
    assert parts(medium, "block2.") == ["start", "expand", "dw", "project"]
    assert parts(medium, "block9.") == ["start", "expand", "project", "add"]
    assert parts(medium, "block10.") == ["expand", "project", "add"]
    assert parts(build("v4-conv-small"), "block6.") == ["expand", "dw", "project", "add"]
    start, middle = conv(medium, "block2.start"), conv(medium, "block2.dw")
    # The last depthwise layer has the stride; the first has no activation.
    assert (start.kernel, start.strides, start.activation) == ((3, 3), (1, 1), "none")
    assert (middle.kernel, middle.strides, middle.activation) == ((5, 5), (2, 2), "relu")
    fused = conv(medium, "block1.fused")
    assert (fused.kind, fused.strides, fused.out_channels) == ("full", (2, 2), 128)


def test_the_head_of_v4_has_a_batch_norm_where_v3_has_a_bias() -> None:
    hidden = build("v4-conv-small").layer("hidden")
    assert isinstance(hidden, Dense)
    assert (hidden.out_features, hidden.bias, hidden.activation) == (1280, False, "relu")
    assert list(hidden.parameters)[1:] == [
        f"hidden.bn.{part}" for part in ("gamma", "beta", "mean", "variance")
    ]


def test_widths_of_v4_leave_stem_and_head() -> None:
    half = build("v4-conv-small", alpha=0.5)
    assert half.layer("conv1").out_shape[1] == 32
    assert half.layer("last").out_shape[1] == 480
    assert half.layer("hidden").out_shape[1] == 1280


def test_squeeze_and_excite_of_mnasnet_is_a_quarter_of_the_blocks_input() -> None:
    model = build("mnasnet-a1")
    assert parts(model, "block4.") == [
        "expand", "dw", "se.pool", "se.reduce", "se.expand", "se.scale", "project"
    ]  # fmt: skip
    assert model.layer("block4.se.reduce").out_shape == (1, 6, 1, 1)
    assert conv(model, "block4.se.expand").activation == "sigmoid"
    assert not any(isinstance(layer, Scale) for layer in build("mnasnet-b1").layers)


def test_mobileone_has_biases_and_s4_excites_its_late_blocks() -> None:
    model = build("mobileone-s4")
    convolutions = [layer for layer in model.layers if isinstance(layer, Conv2d)]
    assert all(layer.bias and layer.batch_norm is None for layer in convolutions)
    excited = {layer.name for layer in model.layers if isinstance(layer, Scale)}
    assert excited == {
        f"block{n}.{part}_se.scale" for n in (*range(16, 21), 21) for part in ("dw", "pw")
    }
    activated = model.layer("block16.dw_act")
    assert isinstance(activated, Activate)
    assert activated.inputs == ("block16.dw_se.scale",)
    assert conv(model, "block16.dw").activation == "none"
    assert conv(model, "block15.dw").activation == "relu"


@pytest.mark.parametrize("name", NEW)
@given(
    alpha=st.integers(1, 30).map(lambda n: n / 20),
    resolution=st.integers(32, 260),
    batch=st.integers(1, 3),
)
@settings(max_examples=8, deadline=None)
def test_any_width_and_any_resolution(name: str, alpha: float, resolution: int, batch: int) -> None:
    options: dict[str, Any] = {"resolution": resolution, "batch": batch}
    if "alpha" in build(name).options:
        options["alpha"] = alpha
    models = [build(name, padding=padding, **options) for padding in ("same", "symmetric")]
    final = math.ceil(resolution / 32)
    for model in models:
        last = model.layer(model.layer("pool").inputs[0])
        assert last.out_shape[2:] == (final, final)
        assert model_from_manifest(model.describe()) == model
    assert models[0].macs == models[1].macs


@pytest.mark.parametrize("name", NEW)
def test_what_cannot_be_built(name: str) -> None:
    for options in ({"resolution": 31}, {"classes": 0}, {"padding": "valid"}, {"batch": 2**40}):
        with pytest.raises(InvalidModelError):
            build(name, **options)


@pytest.mark.parametrize(
    ("name", "option"),
    [*((f"efficientnet-lite{n}", "alpha") for n in range(5)), ("mobileone-s1", "alpha"),
     ("mobileone-s1", "epsilon")],
)  # fmt: skip
def test_options_that_a_family_lacks(name: str, option: str) -> None:
    with pytest.raises(InvalidModelError, match=rf"'{name}' has no option '{option}'"):
        build(name, **{option: 0.5})
    assert option not in build(name).options


def test_titles() -> None:
    titles = [build(name).title for name in ("v4-conv-small", "efficientnet-lite2", "mnasnet-a1")]
    assert titles == [
        "MobileNet V4-Conv-Small 1.0/224", "EfficientNet-Lite2 260", "MnasNet-A1 1.0/224"
    ]  # fmt: skip
    assert build("mobileone-s3").title == "MobileOne-S3 224"


def test_variants_that_do_not_exist() -> None:
    for make, variant in (
        (tm.mobilenet_v4, "hybrid-large"), (tm.mnasnet, "A1"), (tm.mobileone, "s5"),
        (tm.efficientnet_lite, 5), (tm.efficientnet_lite, True), (tm.efficientnet_lite, [0]),
    ):  # fmt: skip
        with pytest.raises(InvalidModelError, match=r"there is no .*\n.*known: "):
            make(variant)


@pytest.mark.parametrize("name", [*SMALL, "mnasnet-a1", "mobileone-s4"])
def test_drawn_weights_neither_die_nor_saturate(name: str) -> None:
    model = build(name, resolution=64, classes=50, batch=2)
    weights = initialize(model)
    values = reference.run(model, weights, sample_input(model.input_shape), keep_layers=True)
    for layer in model.layers:
        value = values[layer.name]
        assert np.abs(value).max() < 200, layer.name
        if isinstance(layer, Softmax):
            continue
        spread = value.std(axis=(0, 2, 3) if value.ndim == 4 and value.shape[2] > 1 else None)
        assert np.median(spread) > 0.05, layer.name
    assert 1 / 50 < values["softmax"].max() < 0.99


def test_drawn_weights_do_not_depend_on_the_resolution() -> None:
    one, other = (initialize(build("mobileone-s0", resolution=side)) for side in (32, 97))
    assert all(np.array_equal(one[name], other[name]) for name in one)
