"""Products of rows in ONNX files, and what scales and shifts them: one dense layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_nets import Net
from test_onnx_import import kinds, taken

from tvm_mobilenet.models.spec import Dense


def rows(net: Net, *, bias: bool, gemm: bool = True) -> str:
    """Eight features of a pooled map, then five of a product."""
    pooled = net.op("Flatten", net.op("GlobalAveragePool", net.conv("image", 8, 3)))
    weight = net.const(net.weight(8, 5))
    constants = [net.const(np.arange(5) / 3)] if bias else []
    y = net.op("Gemm" if gemm else "MatMul", pooled, weight, *constants)
    net.channels[y] = 5
    return str(y)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("spelling", ["op", "ops"])
def test_a_batch_norm_is_the_dense_layers(bias: bool, spelling: str, tmp_path: Path) -> None:
    """As torch writes BatchNorm1d: V4's head, and what recognises faces."""
    net = Net()
    y = rows(net, bias=bias)
    vector = [net.const(part) for part in (np.arange(1, 6) / 4, np.arange(5) - 2.0)]
    if spelling == "op":
        spread = [net.const(part) for part in (np.ones(5) / 3, np.arange(1, 6) / 2)]
        y = net.op("BatchNormalization", y, *vector, *spread, epsilon=1e-3)
    else:
        y = net.op("Add", net.op("Mul", y, vector[0]), vector[1])
    found = taken(net, tmp_path, net.op("Relu", y))
    assert kinds(found) == ["Conv2d", "GlobalAvgPool", "Dense"]
    layer = found.model.layers[-1]
    assert isinstance(layer, Dense)
    assert (layer.bias, layer.activation) == (bias, "relu")
    assert layer.batch_norm == (pytest.approx(1e-3) if spelling == "op" else 0.0)


def test_a_factor_behind_a_product_is_the_dense_layers(tmp_path: Path) -> None:
    net = Net()
    y = net.op("Mul", rows(net, bias=False, gemm=False), net.const(np.float32(0.25)))
    found = taken(net, tmp_path, net.op("Softmax", y, axis=1))
    assert kinds(found) == ["Conv2d", "GlobalAvgPool", "Dense", "Softmax"]


def test_a_pointwise_layer_behind_the_pool_keeps_its_batch_norm(tmp_path: Path) -> None:
    """timm's V4: the head is a convolution of one pixel, then a view."""
    net = Net()
    pooled = net.op("GlobalAveragePool", net.conv("image", 8, 3))
    net.channels[pooled] = 8
    hidden = net.act(net.norm(net.conv(pooled, 6)), "relu")
    y = net.op("Gemm", net.op("Flatten", hidden), net.const(net.weight(6, 5)))
    found = taken(net, tmp_path, y)
    assert kinds(found) == ["Conv2d", "GlobalAvgPool", "Dense", "Dense"]
    layer = found.model.layers[2]
    assert isinstance(layer, Dense)
    assert (layer.bias, layer.activation, layer.batch_norm is None) == (False, "relu", False)


def test_a_batch_norm_that_others_read_past_is_left(tmp_path: Path) -> None:
    net = Net()
    y = rows(net, bias=True)
    scaled = net.op("Mul", y, net.const(np.arange(1, 6)))
    found = taken(net, tmp_path, net.op("Add", scaled, y))
    assert kinds(found) == ["Conv2d", "GlobalAvgPool", "Dense", "Mul", "Add"]


def test_a_gather_of_all_there_is_is_a_view(tmp_path: Path) -> None:
    """As torch's second exporter writes a head: flat, then strided to a map of one pixel."""
    net = Net()
    flat = net.op("Reshape", net.op("GlobalAveragePool", net.conv("image", 8, 3)),
                  net.const([8], np.int64))  # fmt: skip
    order = np.arange(8).reshape(1, 8, 1, 1)
    map_ = net.op("Gather", flat, net.const(order, np.int64), axis=0)
    turned = net.op("Gather", flat, net.const(order[:, ::-1], np.int64), axis=0)
    net.channels[map_] = 8
    found = taken(net, tmp_path, net.conv(map_, 6), turned)
    assert kinds(found) == ["Conv2d", "GlobalAvgPool", "Reshape", "Gather", "Conv2d"]
    assert found.model.layers[-1].inputs == (found.model.layers[1].name,)
