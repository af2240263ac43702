"""A model is compared with its file while that is evaluated, in little memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from fake_module import Fake
from onnx_nets import Net

from tvm_mobilenet.models import convolution
from tvm_mobilenet.models.importer import Imported, import_onnx
from tvm_mobilenet.models.spec import Conv2d
from tvm_mobilenet.verify.artifact import sample_input, verify
from tvm_mobilenet.verify.reading import read_against

LAYERS, SIDE = 32, 64


def deep(folder: Path, layers: int = LAYERS, side: int = SIDE) -> Imported:
    """Many maps of one size, of which one is read again at the end."""
    net = Net((1, 3, side, side))
    first = y = net.act(net.conv("image", 8, 3), "relu")
    for _ in range(layers):
        y = net.act(net.norm(net.conv(y, 8, 3)), "relu")
    end = net.op("Add", y, first)
    return import_onnx(net.save(folder / "deep.onnx", end))


def test_maps_that_nobody_reads_any_more_are_given_up(tmp_path: Path) -> None:
    imported = deep(tmp_path)
    model, (end,) = imported.model, imported.model.outputs
    x = sample_input(model.input_shape)
    imported.evaluate(x)  # what is imported and cached by that counts for nothing
    tracemalloc.start()
    reading = read_against(
        model, imported.weights, x, lambda each: imported.evaluate(x, each=each), keep={end}
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(reading.values) == {end}
    assert len(reading.verdicts) >= LAYERS
    assert all(verdict.passed for verdict in reading.verdicts.values())
    # Convolutions, batch norms and activations are three times as many, beside unfolded windows.
    assert peak < LAYERS * 8 * SIDE * SIDE * np.dtype(np.float64).itemsize


def test_what_is_told_at_once_is_what_is_returned(tmp_path: Path) -> None:
    imported = deep(tmp_path, layers=4, side=12)
    x = sample_input(imported.model.input_shape)
    told: dict[str, np.ndarray | None] = {}
    found = imported.evaluate(x, each=told.__setitem__)
    whole = imported.evaluate(x)
    assert set(told) == {layer.name for layer in imported.model.layers}
    assert {name for name, value in told.items() if value is not None} == set(whole.values)
    for name, value in whole.values.items():
        np.testing.assert_array_equal(told[name], value)
    assert set(found.values) == set(imported.model.outputs)


def test_errors_of_every_kernel_are_those_of_its_layer(tmp_path: Path) -> None:
    imported = deep(tmp_path, layers=4, side=12)
    weights = dict(imported.weights)
    wrong = next(name for name in weights if name.endswith(".weight") and weights[name].ndim == 4)
    weights[wrong] = weights[wrong] * np.float32(1.25)
    report = verify(
        Fake(imported.model, weights), imported.model, imported.weights, expect=imported.evaluate
    )
    assert not report.passed
    assert [row.passed for row in report.rows].count(False) == 1
    assert all(row.relative > 1e-3 for row in report.rows[1:-1])


@pytest.mark.parametrize("groups", [1, 4])
def test_rows_of_an_unfolded_convolution_do_not_change_it(
    groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = Conv2d("c", ("image",), (2, 8, 13, 9), 12, (3, 5), (2, 1), (1, 2, 0, 2), groups)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(layer.in_shape)
    weight = rng.standard_normal(layer.parameters["c.weight"])
    whole = convolution.convolve(layer, weight, x)
    monkeypatch.setattr(convolution, "_UNFOLDED_ELEMENTS", 1500)
    np.testing.assert_allclose(
        convolution.convolve(layer, weight, x), whole, rtol=1e-12, atol=1e-12
    )
