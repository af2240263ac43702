"""Mean and deviation go into the first convolution; its border stands for what it stood for."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from integer_networks import conv, pixel_network
from numpy.typing import NDArray

from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.models import build, reference
from tvm_mobilenet.models.initialization import initialize
from tvm_mobilenet.models.onnx_qdq import to_qdq
from tvm_mobilenet.models.pixels import EDGE, Pixels, edge_weights
from tvm_mobilenet.models.quantized.model import BYTES, Quantization, QuantizedModel
from tvm_mobilenet.models.quantized.pixels import PIXELS, of_pixels
from tvm_mobilenet.models.spec import INPUT, Model
from tvm_mobilenet.runtime.recipe import RECIPES
from tvm_mobilenet.verify.artifact import sample_input

SHAPE = (1, 3, 9, 8)


def normalised(x: NDArray[Any], recipe: dict[str, Any]) -> NDArray[np.float64]:
    mean, std = (np.array(recipe[key])[:, None, None] for key in ("mean", "std"))
    return (x / recipe["scale"] - mean) / std


@pytest.mark.parametrize("recipe", ["torchvision", "tf", "none"])
@pytest.mark.parametrize("name", ["v1", "v3-small"])
def test_the_float_network_is_the_same(name: str, recipe: str) -> None:
    model = build(name, alpha=0.5, resolution=32)
    weights = initialize(model, 1)
    made, arrays = of_pixels(model, weights, RECIPES[recipe])
    x = sample_input(model.input_shape, 2, dtype=made.input_dtype)
    want = reference.run(model, weights, normalised(x, RECIPES[recipe]))
    assert reference.relative_error(reference.run(made, arrays, x), want) < 1e-5


def test_a_border_adds_what_its_colour_would() -> None:
    """Within half a step for each tap, whatever the weights: what rounding it has lost is back."""
    rng = np.random.default_rng(0)
    colours = (0.5, 123.675, 254.5)
    pixels = Pixels(PIXELS, (INPUT,), SHAPE, (1, 1, 1, 1), (*colours, EDGE))
    weight = rng.integers(-127, 128, (64, 4, 3, 3)).astype(np.int8)
    weight[:2, :3] = np.array([127, -127])[:, None, None, None]
    found = edge_weights(weight, pixels)
    assert np.array_equal(found[:, :3], weight[:, :3])
    got = np.einsum("ocyx,c->oyx", found.astype(float), pixels.whole.border)
    want = np.einsum("ocyx,c->oyx", weight[:, :3].astype(float), colours)
    assert np.abs(got - want).max() <= EDGE / 2
    without = np.einsum("ocyx,c->oyx", weight[:, :3].astype(float), pixels.whole.border[:3])
    assert np.abs(without - want).max() > 100


def test_a_network_keeps_them() -> None:
    made = pixel_network()
    weight = made.weights["c1.weight"]
    assert (weight.dtype, weight.shape[1]) == (np.int8, 4)
    assert weight[:, 3].any()
    assert made.records[INPUT].output == made.records[PIXELS].output == BYTES


def test_what_does_not_begin_so_is_refused() -> None:
    grey = conv("c", (1, 1, 9, 8), 4, 3)
    model = Model("m", "M", {}, grey.in_shape, (grey,))
    with pytest.raises(QuantizationError, match="3 channels"):
        of_pixels(model, initialize(model, 0), RECIPES["tf"])
    first = conv("c", SHAPE, 4, 3)
    model = Model("m", "M", {}, SHAPE, (first,))
    bright = RECIPES["tf"] | {"mean": [0.5, 0.5, 1.01]}
    with pytest.raises(QuantizationError, match=r"127\.5, 127\.5, 257\.55"):
        of_pixels(model, initialize(model, 0), bright)


@pytest.mark.parametrize(
    ("layer", "record", "says"),
    [
        ({"border": (0.5, 0.0, 0.0, 2.0)}, BYTES, "border"),
        ({}, dataclasses.replace(BYTES, scale=(0.5,)), "stay what they are"),
        ({}, dataclasses.replace(BYTES, zero_point=1), "stay what they are"),
    ],
)
def test_pixels_stay_what_they_are(layer: dict[str, Any], record: Any, says: str) -> None:
    pixels = Pixels(PIXELS, (INPUT,), SHAPE, (0, 0, 1, 1), (1.0, 2.0, 3.0, EDGE))
    model = Model("m", "M", {}, SHAPE, (dataclasses.replace(pixels, **layer),), input_dtype="uint8")
    records = {INPUT: Quantization(BYTES), PIXELS: Quantization(record)}
    with pytest.raises(QuantizationError, match=says):
        QuantizedModel(model, records)


def test_onnx_has_no_such_border() -> None:
    with pytest.raises(QuantizationError, match="raw pixels"):
        to_qdq(pixel_network())
