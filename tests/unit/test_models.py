"""MobileNet V1 as data: the paper's figures, odd sizes, and what cannot be built."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_mobilenet.errors import InvalidModelError, UnknownModelError
from tvm_mobilenet.models import (
    MODELS,
    SHORT_NAMES,
    build,
    mobilenet_v1,
    model_from_manifest,
)
from tvm_mobilenet.models.spec import Conv2d, Dense, GlobalAvgPool, Model, Softmax, same_padding

# arXiv 1704.04861: alpha, resolution, million MACs, million parameters.
PAPER = [
    (1.0, 224, 569, 4.2),  # Tables 6 and 7
    (0.75, 224, 325, 2.6),  # Table 6
    (0.5, 224, 149, 1.3),
    (0.25, 224, 41, 0.5),
    (1.0, 192, 418, 4.2),  # Table 7
    # 290.7: the paper cuts this one off where it rounds the others; the authors'
    # own table (tensorflow/models, slim) has 291.
    (1.0, 160, 290, 4.2),
    (1.0, 128, 186, 4.2),
]


@pytest.mark.parametrize(("alpha", "resolution", "macs", "params"), PAPER)
def test_paper_figures(alpha: float, resolution: int, macs: int, params: float) -> None:
    model = mobilenet_v1(alpha=alpha, resolution=resolution)
    millions = math.floor if resolution == 160 else round
    assert millions(model.macs / 1e6) == macs
    assert round(model.params / 1e6, 1) == params


def test_exact_counts() -> None:
    model = mobilenet_v1()
    assert (model.macs, model.params) == (568_740_352, 4_231_976)


# Table 2: percent of the MACs, and of the weights without biases and batch norm.
@pytest.mark.parametrize(
    ("suffix", "macs", "weights"),
    [(".pw", 94.86, 74.59), (".dw", 3.06, 1.06), ("classifier", 0.18, 24.33)],
)
def test_where_the_work_is(suffix: str, macs: float, weights: float) -> None:
    model = mobilenet_v1()
    sizes = {
        name.removesuffix(".weight"): math.prod(shape)
        for name, shape in model.parameters.items()
        if name.endswith(".weight")
    }
    some = [layer for layer in model.layers if layer.name.endswith(suffix)]
    assert round(100 * sum(layer.macs for layer in some) / model.macs, 2) == macs
    share = sum(sizes[layer.name] for layer in some) / sum(sizes.values())
    assert round(100 * share, 2) == weights


def test_layers_of_table_1() -> None:
    model = mobilenet_v1()
    names = ["conv1"]
    names += [f"block{i}.{part}" for i in range(1, 14) for part in ("dw", "pw")]
    assert [layer.name for layer in model.layers] == [*names, "pool", "classifier", "softmax"]
    assert model.layer("conv1").out_shape == (1, 32, 112, 112)
    assert model.layer("block1.pw").out_shape == (1, 64, 112, 112)
    assert model.layer("block6.dw").out_shape == (1, 256, 14, 14)
    assert model.layer("block12.dw").out_shape == (1, 512, 7, 7)
    assert model.layer("block13.pw").out_shape == (1, 1024, 7, 7)
    assert isinstance(model.layer("pool"), GlobalAvgPool)
    assert isinstance(model.layer("classifier"), Dense)
    assert isinstance(model.layer("softmax"), Softmax)
    assert model.output_shape == (1, 1000)
    assert model.title == "MobileNet V1 1.0/224"


def test_parameters_are_named_in_order_with_their_shapes() -> None:
    parameters = mobilenet_v1(alpha=0.5, classes=7).parameters
    assert list(parameters)[:5] == [
        "conv1.weight",
        "conv1.bn.gamma",
        "conv1.bn.beta",
        "conv1.bn.mean",
        "conv1.bn.variance",
    ]
    assert parameters["conv1.weight"] == (16, 3, 3, 3)
    assert parameters["block2.dw.weight"] == (32, 1, 3, 3)
    assert parameters["block2.pw.weight"] == (64, 32, 1, 1)
    assert list(parameters.items())[-2:] == [
        ("classifier.weight", (7, 512)),
        ("classifier.bias", (7,)),
    ]


def test_moving_statistics_are_no_trainable_parameters() -> None:
    layer = mobilenet_v1().layer("conv1")
    assert layer.params == 32 * 3 * 9 + 2 * 32


def test_savings_are_those_of_the_paper_formula() -> None:
    model = mobilenet_v1(alpha=0.75, resolution=161, batch=2)
    savings = model.separable_savings()
    assert [saving.name for saving in savings] == [f"block{i}" for i in range(1, 14)]
    for saving in savings:
        channels = model.layer(f"{saving.name}.pw").out_shape[1]
        assert saving.ratio == float(Fraction(1, channels) + Fraction(1, 9))
        parts = (model.layer(f"{saving.name}.{part}").macs for part in ("dw", "pw"))
        assert saving.separable_macs == sum(parts)


@given(
    alpha=st.integers(1, 64).map(lambda n: n / 32),
    resolution=st.integers(32, 320),
    batch=st.integers(1, 4),
)
def test_any_whole_width_and_any_resolution(alpha: float, resolution: int, batch: int) -> None:
    same = mobilenet_v1(alpha, resolution, batch=batch, padding="same")
    symmetric = mobilenet_v1(alpha, resolution, batch=batch, padding="symmetric")
    final = math.ceil(resolution / 32)
    assert same.layer("block13.pw").out_shape == (batch, round(1024 * alpha), final, final)
    assert [layer.out_shape for layer in same.layers] == [
        layer.out_shape for layer in symmetric.layers
    ]
    assert same.macs == batch * mobilenet_v1(alpha, resolution).macs


def test_padding_of_strided_layers() -> None:
    def paddings(padding: str, resolution: int) -> list[object]:
        model = build("v1", resolution=resolution, padding=padding)
        convolutions = [layer for layer in model.layers if isinstance(layer, Conv2d)]
        return [layer.padding for layer in convolutions[:2]]

    assert paddings("same", 224) == [(0, 0, 1, 1), (1, 1, 1, 1)]
    assert paddings("same", 225) == [(1, 1, 1, 1), (1, 1, 1, 1)]
    assert paddings("symmetric", 224) == [(1, 1, 1, 1), (1, 1, 1, 1)]


@given(size=st.integers(1, 50), taps=st.integers(1, 7), stride=st.integers(1, 4))
def test_same_padding_keeps_ceil_of_size_over_stride(size: int, taps: int, stride: int) -> None:
    top, left, bottom, right = same_padding((size, size), (taps, taps), (stride, stride))
    assert top <= bottom <= top + 1
    assert (left, right) == (top, bottom)
    layer = Conv2d(
        "c",
        ("input",),
        (1, 1, size, size),
        1,
        (taps, taps),
        (stride, stride),
        (top, left, bottom, right),
    )
    assert layer.out_shape == (1, 1, -(-size // stride), -(-size // stride))


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"groups": 8, "kernel": (3, 3)}, "depthwise"),
        ({"groups": 8, "kernel": (5, 5), "strides": (2, 2)}, "depthwise"),
        ({"kernel": (1, 1)}, "pointwise"),
        ({"kernel": (1, 1), "strides": (2, 2)}, "full"),
        ({"kernel": (1, 1), "padding": (0, 0, 1, 1)}, "full"),
        ({"kernel": (1, 1), "groups": 2}, "full"),
        ({"kernel": (3, 3)}, "full"),
        ({"kernel": (3, 3), "groups": 8, "out_channels": 16}, "full"),
    ],
)
def test_kinds_of_convolution(options: dict[str, object], kind: str) -> None:
    arguments: dict[str, object] = {"out_channels": 8, **options}
    layer = Conv2d("c", ("input",), (1, 8, 9, 9), **arguments)  # type: ignore[arg-type]
    assert layer.kind == kind


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.3}, "9.6 channels"),
        ({"alpha": 1 / 3}, "channels"),
        ({"alpha": 0.01}, "0.32 channels"),
        ({"alpha": 0}, "alpha must be a positive number"),
        ({"alpha": -0.5}, "alpha must be a positive number"),
        ({"alpha": float("nan")}, "alpha must be a positive number"),
        ({"alpha": float("inf")}, "alpha must be a positive number"),
        ({"alpha": True}, "alpha must be a positive number"),
        ({"alpha": None}, "alpha must be a positive number"),
        ({"resolution": 31}, "resolution must be at least 32"),
        ({"resolution": -224}, "resolution must be at least 32"),
        ({"resolution": 224.0}, "resolution must be a whole number"),
        ({"resolution": "224"}, "resolution must be a whole number"),
        ({"classes": 0}, "classes must be at least 1"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"batch": True}, "batch must be a whole number"),
        ({"padding": "valid"}, "unknown padding 'valid'"),
        ({"width": 2}, "has no option 'width'"),
    ],
)
def test_what_cannot_be_built_says_why(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidModelError, match=message):
        build("v1", **options)


def test_misspelled_option_is_guessed() -> None:
    with pytest.raises(InvalidModelError, match="did you mean 'resolution'"):
        build("v1", resolutoin=224)


@pytest.mark.parametrize("name", ["mobilenet-v1", "MobileNet_V1", "mobilnet_v1"])
def test_unknown_model_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownModelError, match=r"did you mean 'mobilenet_v1'\? known: v1, v2"):
        build(name)


def test_every_registered_name_builds() -> None:
    assert {build(name).name for name in MODELS} == set(SHORT_NAMES.values())
    assert {build(short).name: short for short in SHORT_NAMES} == {
        name: short for short, name in SHORT_NAMES.items()
    }


def test_description_survives_json() -> None:
    model = build("v1", alpha=np.float64(0.75), resolution=np.int64(193), classes=11, batch=2)
    again = model_from_manifest(json.loads(json.dumps(model.describe())))
    assert again == model
    assert again.title == "MobileNet V1 0.75/193"


def test_description_is_a_copy() -> None:
    model = mobilenet_v1()
    model.describe()["options"]["alpha"] = 2.0
    assert model.options["alpha"] == 1.0


def test_models_hash_and_compare_by_value() -> None:
    assert len({mobilenet_v1(), mobilenet_v1(), mobilenet_v1(0.5)}) == 2


@pytest.mark.parametrize("manifest", [{}, {"name": "v1"}, {"name": 1, "options": {}}])
def test_malformed_description(manifest: dict[str, object]) -> None:
    with pytest.raises(InvalidModelError, match="needs a name and options"):
        model_from_manifest(manifest)


def test_unknown_layer_lists_the_known_ones() -> None:
    with pytest.raises(InvalidModelError, match=r"no layer 'block14\.pw'.*\n.*block13\.pw"):
        mobilenet_v1().layer("block14.pw")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": 3}, "cannot split 4 and 8 channels into 3 groups"),
        ({"kernel": (6, 6)}, "no output pixel"),
        ({"kernel": (0, 1)}, "below 1"),
        ({"strides": (1, 0)}, "below 1"),
        ({"padding": (0, 0, -1, 0)}, "negative padding"),
        ({"in_shape": (1, 4)}, "takes 4 dimensions"),
        ({"in_shape": (0, 4, 5, 5)}, "empty input"),
        ({"inputs": ()}, "has no input"),
    ],
)
def test_impossible_convolutions(arguments: dict[str, object], message: str) -> None:
    valid: dict[str, object] = {
        "name": "c",
        "inputs": ("input",),
        "in_shape": (1, 4, 5, 5),
        "out_channels": 8,
        "kernel": (1, 1),
    }
    with pytest.raises(InvalidModelError, match=message):
        Conv2d(**(valid | arguments))  # type: ignore[arg-type]


def _softmax(name: str = "a", source: str = "input", features: int = 4) -> Softmax:
    return Softmax(name, (source,), (1, features))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((), "has no layer"),
        ((_softmax(), _softmax()), "two layers of 'm' are called 'a'"),
        ((_softmax("input"),), "two layers of 'm' are called 'input'"),
        ((_softmax(source="b"), _softmax("b")), "not computed yet"),
        ((_softmax(features=5),), r"takes \(1, 5\), but 'input' gives \(1, 4\)"),
    ],
)
def test_impossible_graphs(layers: tuple[Softmax, ...], message: str) -> None:
    with pytest.raises(InvalidModelError, match=message):
        Model(name="m", title="M", options={}, input_shape=(1, 4), layers=layers)


def test_describing_a_model_imports_neither_numpy_nor_tvm() -> None:
    code = (
        "import sys; from tvm_mobilenet.models import build; build('v1'); "
        "print([name for name in ('numpy', 'tvm', 'onnx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
