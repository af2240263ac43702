"""Activations as data: recognised however they are spelled, written, and bounded truly."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from activation_cases import ACTIVATIONS, SPELLINGS
from onnx_nets import Net

import tvm_mobilenet as tm
from tvm_mobilenet.common.functions import (
    KINDS,
    clips,
    identifier,
    parsed,
    spelled,
    steepest,
    tabled,
    varies,
)
from tvm_mobilenet.errors import InvalidModelError
from tvm_mobilenet.models.activations import activate
from tvm_mobilenet.models.importer import fits
from tvm_mobilenet.models.onnx_export import export_onnx
from tvm_mobilenet.models.spec import Conv2d

PLAIN = [name for name, kind in KINDS.items() if not kind.parameters and not kind.by_channel]
EVERY = tuple(dict.fromkeys((*PLAIN, *ACTIVATIONS)))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_a_file_spells_is_part_of_the_convolution(spelling: str, tmp_path: Path) -> None:
    activation, write = SPELLINGS[spelling]
    net = Net()
    y = write(net, net.conv("image", 8, 3))
    (layer,) = tm.import_onnx(net.save(tmp_path / "net.onnx", y)).model.layers
    assert isinstance(layer, Conv2d)
    assert layer.activation == activation


@pytest.mark.parametrize("activation", EVERY[1:])
def test_what_is_written_is_recognised(activation: str, tmp_path: Path) -> None:
    net = Net()
    made = tm.import_onnx(net.save(tmp_path / "net.onnx", net.op("Relu", net.conv("image", 8))))
    (layer,) = made.model.layers
    layer = dataclasses.replace(layer, activation=activation)
    changed = dataclasses.replace(made.model, layers=(layer,))
    export_onnx(changed, made.weights, tmp_path / "again.onnx")
    (again,) = tm.import_onnx(tmp_path / "again.onnx").model.layers
    assert again.activation == activation


@pytest.mark.parametrize(
    "spoil",
    [
        lambda y: y + 1e-4,
        lambda y: np.where(fits.GRID > 5, y + 1, y),
        lambda y: np.where(fits.GRID < -20, -1.0, y),
        lambda y: np.where(fits.GRID == 0, 0.1, y),
    ],
    ids=["shifted", "above", "far below", "at 0"],
)
@pytest.mark.parametrize("activation", ["silu", "gelu", "leakyrelu(0.1)", "gated(0.2,0.6,1)"])
def test_what_is_nearly_one_is_none(activation: str, spoil: object) -> None:
    assert fits.fitted(activate(fits.GRID, activation)) == activation
    assert fits.fitted(spoil(activate(fits.GRID, activation))) is None  # type: ignore[operator]


def test_functions_that_meet_ours_on_a_few_points_are_none() -> None:
    grid = fits.GRID
    with np.errstate(over="ignore"):
        for values in (2 * np.maximum(grid, 0), grid / 2, grid * grid, np.sign(grid), grid**3):
            assert fits.fitted(values) is None


@pytest.mark.parametrize("activation", EVERY)
def test_facts_are_those_of_the_function(activation: str) -> None:
    """No slope is steeper, nothing varies outside, nothing leaves the limits; 0 is idle or not."""
    x = np.linspace(-30, 30, 60001)
    y = activate(x, activation)
    slopes = np.abs(np.diff(y) / np.diff(x))
    assert 0.97 * steepest(activation) <= slopes.max() <= steepest(activation) + 1e-6
    low, high = varies(activation)
    flat = (x[1:] < low - 1e-3) | (x[:-1] > high + 1e-3)
    assert not tabled(activation) or not slopes[flat].any()
    limits = clips(activation)
    if limits is not None:
        np.testing.assert_array_equal(y, np.clip(x, *limits))
    assert np.isnan(activate(np.array([np.nan]), activation)).all()


def test_texts_are_of_float32_and_are_names() -> None:
    assert spelled("leakyrelu", float(np.float32(0.1))) == "leakyrelu(0.1)"
    assert spelled("clip", -np.inf, 1e39) == "clip(-inf,inf)"
    assert identifier("clip(-1.5,2e-07)") == "clip_m1p5_2em07"
    assert all(identifier(name).isidentifier() for name in EVERY)
    for wrong in ("selu", "clip", "clip(1)", "elu(a)", "silu(1)"):
        with pytest.raises(InvalidModelError, match="unknown activation"):
            parsed(wrong)
