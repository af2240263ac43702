"""Transpositions move down and vanish, and the walk ends, whatever they meet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_nets import Net

from tvm_mobilenet.models import reference
from tvm_mobilenet.models.importer import Imported, import_onnx
from tvm_mobilenet.models.spec import Operator

TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


def taken(net: Net, folder: Path, *outputs: str) -> tuple[Imported, list[str]]:
    """Import a network, see that its layers compute what onnx's evaluator says; name them."""
    imported = import_onnx(net.save(folder / "net.onnx", *outputs))
    x = np.random.default_rng(1).standard_normal(imported.model.input_shape)
    ours = reference.run(imported.model, imported.weights, x, keep_layers=True)
    for name, want in imported.expected(x).items():
        assert reference.relative_error(ours[name], want) < 1e-6, name
    return imported, [
        layer.operator if isinstance(layer, Operator) else type(layer).__name__
        for layer in imported.model.layers
    ]


def moved(net: Net, x: str, perm: list[int], channels: int) -> str:
    y: str = net.op("Transpose", x, perm=perm)
    net.channels[y] = channels
    return y


def convolved(net: Net, x: str, channels: int, *, out: int, kernel: int = 1) -> str:
    """Between two transpositions, as tf2onnx writes every convolution."""
    y = net.conv(moved(net, x, TO_NCHW, channels), out, kernel)
    return moved(net, y, TO_NHWC, out)


@pytest.mark.parametrize("kind", ["Add", "Mul", "Sub", "Max"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_map_meets_the_grey_image_that_it_was_made_of(
    kind: str, first: bool, channels: int, tmp_path: Path
) -> None:
    """x + f(x) in NHWC: to transpose one channel costs nothing, so either side could move."""
    net = Net((1, 5, 4, channels))
    y = convolved(net, convolved(net, "image", channels, out=4, kernel=3), 4, out=1)
    _, layers = taken(net, tmp_path, net.op(kind, *(["image", y] if first else [y, "image"])))
    assert layers.count("Conv2d") == 2
    assert layers.count("Transpose") == (channels == 3)  # at the way in


@pytest.mark.parametrize("shape", [(1, 1, 1, 6), (2, 1, 1, 1), (1, 4, 4, 1), (1, 1, 4, 1)])
def test_maps_of_one_pixel_or_channel_in_a_chain_of_residuals(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    net = Net(shape)
    channels, y = shape[3], "image"
    for _ in range(3):
        y = net.op("Add", y, net.op("Relu", convolved(net, y, channels, out=channels)))
    z = net.op("Concat", y, convolved(net, y, channels, out=2), axis=3)
    _, layers = taken(net, tmp_path, z, net.op("ReduceMean", z, axes=[1, 2], keepdims=1))
    assert layers.count("Conv2d") == 4


def test_two_orders_meet(tmp_path: Path) -> None:
    """Neither is the other's: what costs something goes on, what is a view becomes one."""
    net = Net((1, 3, 3, 3))
    one = moved(net, net.conv("image", 3), [0, 2, 3, 1], 3)
    other = moved(net, net.conv("image", 3), [0, 3, 1, 2], 3)
    pooled = moved(net, net.op("GlobalAveragePool", net.conv("image", 3)), [0, 3, 1, 2], 1)
    gate = net.op("Transpose", net.op("Add", other, pooled), perm=[0, 3, 2, 1])
    taken(net, tmp_path, net.op("Mul", net.op("Add", one, other), gate), gate)


def test_four_orders_make_one(tmp_path: Path) -> None:
    net = Net((1, 2, 3, 4))
    y = net.op("Relu", "image")
    for perm in ([1, 0, 2, 3], [3, 2, 1, 0], [0, 2, 1, 3], [2, 3, 0, 1]):
        y = net.op("Tanh", net.op("Transpose", y, perm=perm))
    _, layers = taken(net, tmp_path, y)
    assert layers.count("Transpose") == 1


def test_a_transposition_for_several_is_kept_for_whom_it_must(tmp_path: Path) -> None:
    net = Net((1, 3, 4, 5))
    y = moved(net, net.conv("image", 6), TO_NHWC, 6)
    flat = net.op("Reshape", y, net.const([1, -1], np.int64))
    _, layers = taken(net, tmp_path, flat, convolved(net, net.op("Relu", y), 6, out=2), y)
    assert layers.count("Transpose") == 2  # of the map, which is returned, and of the last one
