"""Which operators of a file compute in integers, and with which types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integer_networks import joined_network
from onnx_nets import Net

from tvm_mobilenet.errors import InvalidModelError
from tvm_mobilenet.models.importer import import_onnx
from tvm_mobilenet.models.maps import Concat, Pool2d
from tvm_mobilenet.models.operator import Operator
from tvm_mobilenet.models.quantized.forms import integer_form
from tvm_mobilenet.models.spec import Conv2d, Layer
from tvm_mobilenet.quantization.calibration import quantize
from tvm_mobilenet.quantization.quality import quality

SHAPE = (1, 6, 9, 8)
WINDOW = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 1]}


def form_of(tmp_path: Path, kind: str, **attributes: Any) -> Layer:
    """The form of one operator between two activations; Concat gets two maps."""
    net = Net(SHAPE)
    x = net.op("Relu", "image")
    given = (x, net.op("Neg", x)) if kind == "Concat" else (x,)
    y = net.op(kind, *given, **attributes)
    imported = import_onnx(net.save(tmp_path / "net.onnx", y))
    return integer_form(imported.model.layers[-1])


@pytest.mark.parametrize(
    ("kind", "attributes", "size"),
    [
        ("MaxPool", WINDOW, (4, 4)),
        ("MaxPool", WINDOW | {"ceil_mode": 1}, (5, 5)),
        ("MaxPool", {"kernel_shape": [3, 2], "auto_pad": "SAME_LOWER"}, (9, 8)),
        ("AveragePool", WINDOW, (4, 4)),
        ("AveragePool", {"kernel_shape": [4, 3], "count_include_pad": 1}, (6, 6)),
        ("GlobalMaxPool", {}, (1, 1)),
    ],
)
def test_pools(
    tmp_path: Path, kind: str, attributes: dict[str, Any], size: tuple[int, ...]
) -> None:
    form = form_of(tmp_path, kind, **attributes)
    assert isinstance(form, Pool2d)
    assert form.out_shape == (1, 6, *size)
    assert form.kind == ("mean" if kind == "AveragePool" else "max")


def test_maps_are_joined_along_channels(tmp_path: Path) -> None:
    form = form_of(tmp_path, "Concat", axis=-3)
    assert isinstance(form, Concat)
    assert form.out_shape == (1, 12, 9, 8)
    with pytest.raises(InvalidModelError, match="joins"):
        Concat("c", ("a", "b"), SHAPE, ((1, 6, 9, 9),))


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("MaxPool", WINDOW | {"dilations": [2, 1]}),
        ("AveragePool", WINDOW | {"count_include_pad": 1}),
        ("Concat", {"axis": 2}),
        ("Erf", {}),
    ],
)
def test_others_stay_in_float(tmp_path: Path, kind: str, attributes: dict[str, Any]) -> None:
    assert isinstance(form_of(tmp_path, kind, **attributes), Operator)


def test_elements_that_move_stay_what_they_are() -> None:
    """A largest element has its map's type; what only a join reads has the join's."""
    made = joined_network()
    (join,) = (layer for layer in made.model.layers if isinstance(layer, Concat))
    types = [made.records[name].output for name in join.inputs]
    pooled = made.model.layer(join.inputs[1])
    assert isinstance(pooled, Pool2d)
    assert [of == made.records[join.name].output for of in types] == [True, False, True, True]
    assert types[1] == made.records[pooled.inputs[0]].output


def test_they_compute_what_float_does(tmp_path: Path) -> None:
    net = Net((1, 3, 17, 15), seed=1)
    stem = net.act(net.conv("image", 16, 3, bias=True), "relu")
    mean = net.op("AveragePool", stem, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    most = net.op("MaxPool", stem, **WINDOW | {"pads": [1, 1, 1, 1]})
    both = net.op("Concat", mean, most, axis=1)
    net.channels[both] = 32
    last = net.conv(net.conv(both, 24, 3, groups=8, bias=True), 24, 1, groups=12, bias=True)
    imported = import_onnx(net.save(tmp_path / "net.onnx", last))
    images = [np.random.default_rng(i).normal(0, 1, (1, 3, 17, 15)) for i in range(3)]
    made = quantize(imported.model, imported.weights, images[:2])
    kept = [layer for layer in imported.model.layers if layer.name not in made.model.records]
    assert [layer.groups for layer in kept if isinstance(layer, Conv2d)] == [12]
    assert len(kept) == 1
    cost = quality(imported.model, imported.weights, made, images[2:])
    assert min(cost.layers.values()) > 25
