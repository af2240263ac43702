"""Parallel branches of one map, which one convolution computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_cases import onnxruntime_says
from onnx_nets import Net

import tvm_mobilenet as tm
from tvm_mobilenet.models import reference


def total(net: Net, *values: str) -> str:
    """The sum of some maps, one after the other."""
    first, *others = values
    for other in others:
        first = net.add(first, other)
    return first


def kinds(net: Net, path: Path, out: str) -> list[Any]:
    """The layers that a file becomes, after checking that they compute what it does."""
    imported = tm.import_onnx(net.save(path / "net.onnx", out))
    x = np.random.default_rng(1).standard_normal(imported.model.input_shape).astype(np.float32)
    (want,) = onnxruntime_says(path / "net.onnx", x)
    got = reference.run(imported.model, imported.weights, x)
    assert reference.relative_error(got, want) < 2e-6
    return [getattr(layer, "kernel", type(layer).__name__) for layer in imported.model.layers]


@pytest.mark.parametrize("groups", [1, 4, 12])
def test_convolutions_their_norms_and_the_map_itself(groups: int, tmp_path: Path) -> None:
    net = Net((2, 3, 9, 8))
    x = net.act(net.conv("image", 12, 3), "relu")
    parts = [net.norm(net.conv(x, 12, taps, groups)) for taps in (3, 3, 1)]
    out = net.act(total(net, *parts, net.norm(x)), "relu")
    assert kinds(net, tmp_path, net.conv(out, 5)) == [(3, 3), (3, 3), (1, 1)]


def test_with_strides_and_channels_that_differ(tmp_path: Path) -> None:
    for size in (9, 8):
        net = Net((1, 3, size, size))
        parts = [net.norm(net.conv("image", 7, taps, strides=[2, 2])) for taps in (3, 1)]
        assert kinds(net, tmp_path, total(net, *parts)) == [(3, 3)]


def test_the_map_as_it_is_beside_two_branches(tmp_path: Path) -> None:
    net = Net((1, 6, 7, 7))
    parts = [net.norm(net.conv("image", 6, taps, bias=True)) for taps in (3, 1)]
    assert kinds(net, tmp_path, total(net, "image", *parts)) == [(3, 3)]


def test_what_is_added_besides_stays_added(tmp_path: Path) -> None:
    net = Net((1, 3, 7, 7))
    far = net.conv("image", 6, 5)
    x = net.act(far, "relu")
    parts = [net.norm(net.conv(x, 6, taps)) for taps in (3, 1)]
    assert kinds(net, tmp_path, total(net, parts[0], far, parts[1])) == [
        (5, 5), "Activate", (3, 3), "Add",
    ]  # fmt: skip


def test_what_is_left_alone(tmp_path: Path) -> None:
    """A residual connection; a row and a column; strides that differ; a branch with two readers."""
    net = Net((1, 6, 7, 7))
    assert kinds(net, tmp_path, net.add(net.conv("image", 6), "image")) == [(1, 1), "Add"]

    net = Net((1, 6, 7, 7))
    row, column = (
        net.op("Conv", "image", net.const(net.weight(6, 6, *taps)), pads=pads * 2)
        for taps, pads in (((1, 5), [0, 2]), ((5, 1), [2, 0]))
    )
    assert kinds(net, tmp_path, net.add(row, column)) == [(1, 5), (5, 1), "Add"]

    net = Net((1, 6, 1, 1))
    parts = [net.conv("image", 6, 3, strides=[stride] * 2) for stride in (1, 2)]
    assert kinds(net, tmp_path, total(net, *parts)) == [(3, 3), (3, 3), "Add"]

    net = Net((1, 6, 7, 7))
    one, other = net.conv("image", 6, 3), net.conv("image", 6)
    both = net.op("Concat", net.add(one, other), one, axis=1)
    assert kinds(net, tmp_path, both) == [(3, 3), (1, 1), "Add", "Operator"]
