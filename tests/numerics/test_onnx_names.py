"""Kernels of TVM's own are called as the layers that they compute, whatever else is called so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_cases import saved
from onnx_nets import Net

import tvm_mobilenet as tm
from tvm_mobilenet.compilation.report import report_of

Made = tuple[Any, Any]


def made(net: Net, folder: Path, *outputs: str) -> Made:
    """Compile, which verifies; what the manifest says of layers is true."""
    imported = tm.import_onnx(saved(net, folder / "net.onnx", *outputs))
    compiled = tm.compile(imported)
    layers = [layer.name for layer in imported.model.layers]
    named = [name for call in compiled.manifest["calls"] for name in call["layers"]]
    assert sorted(named) == sorted(layers)
    assert tm.verify(compiled.path).passed
    return compiled, imported


def hard_swish(net: Net, x: str) -> str:
    """With a sixth so rough that it is none of ours: five operators of TVM's."""
    raised = net._clip(net.op("Add", x, net.const(3.0)), 0.0, 6.0)
    y = net.op("Mul", x, net.op("Mul", raised, net.const(0.16667)))
    net.channels[y] = net.channels[x]
    return str(y)


def test_blocks_that_read_variables_of_the_same_names(tmp_path: Path) -> None:
    net = Net((1, 3, 16, 16), 13)
    x = hard_swish(net, net.conv("image", 8, 3, strides=[2, 2], bias=True))
    for channels, expanded, stride in ((8, 8, 1), (12, 24, 2)):
        y = hard_swish(net, net.conv(x, expanded, bias=True))
        y = hard_swish(net, net.depthwise(y, strides=[stride, stride], bias=True))
        y = net.conv(y, channels, bias=True)
        x = net.add(y, x) if stride == 1 else y
        net.channels[x] = channels
    made(net, tmp_path, hard_swish(net, x))


@pytest.mark.parametrize("channels", [8, 16])
def test_grouped_convolutions_that_are_outputs(channels: int, tmp_path: Path) -> None:
    """Two kernels alike are one function; each call is its own layer."""
    net = Net((1, 8, 8, 8), 13)
    kernel, groups = (1, 4) if channels == 8 else (3, 8)
    first = net.conv("image", channels, kernel, groups, bias=True)
    compiled, _ = made(net, tmp_path, first, net.conv(first, channels, kernel, groups, bias=True))
    calls = [call for call in compiled.manifest["calls"] if call["layers"]]
    assert [len(call["layers"]) for call in calls] == [1, 1]
    assert len({call["kernel"] for call in calls}) == (1 if channels == 8 else 2)


def test_what_leads_to_a_layer_is_not_the_layer(tmp_path: Path) -> None:
    """A mean, a variance and the rest are several kernels, of which the last is the layer."""
    net = Net((1, 3, 8, 8), 21)
    y = net.op("Softsign", net.conv("image", 8, 3, bias=True))
    ends = (net.const(net.weight(8)), net.const(net.weight(8)))
    y = net.op("GroupNormalization", y, *ends, num_groups=2)
    net.channels[y] = 8
    value = net.conv(y, 4, 3, bias=True)
    compiled, _ = made(net, tmp_path, value)
    rows = report_of(compiled.manifest).rows
    assert any(row.layers[0].startswith("(part of") for row in rows)


def test_kernels_that_the_importer_of_tvm_defines_itself(tmp_path: Path) -> None:
    """Inverse tangents of padded maps: twice each, in one network."""
    net = Net((1, 3, 16, 16), 13)
    x = net.conv("image", 8, 3, bias=True)
    for _ in range(2):
        pads = net.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
        x = net.op("Pad", net._clip(x, -1.0, 1.0), pads, net.const(0.5))
        net.channels[x] = 8
        x = net.op("Atan", net.conv(x, 8, 3, pads=[0] * 4, bias=True))
        net.channels[x] = 8
    compiled, _ = made(net, tmp_path, x)
    operators = " ".join(call["operator"] for call in compiled.manifest["calls"])
    assert operators.count("Atan") == 2
