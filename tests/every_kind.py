"""A network of every kind of layer that MobileNets lack: an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx_nets import Net


def every_kind(path: Path) -> Path:
    """Save one: convolutions dilated, in groups, multiplied, transposed; pools, a shuffle."""
    net = Net((1, 5, 11, 11))
    value = net.conv("image", 24, 3, pads=[1] * 4)
    value = net.act(net.norm(net.conv(value, 32, 3, dilations=[2, 2], pads=[2] * 4)), "relu")
    value = net.conv(value, 32, 3, groups=4, pads=[1] * 4, bias=True)
    value = net.conv(value, 64, 3, groups=32, pads=[1] * 4, bias=True)
    value = _of(net, 64, net.add(net.conv(value, 64, 3, pads=[1] * 4), value))
    value = net.act(value, "relu")
    value = _of(net, 64, net.op("Elu", net.depthwise(value, 3, dilations=[2, 2], pads=[2] * 4)))
    value = _transposed(net, value, 12, 3, pads=[1] * 4, output_padding=[1, 1])
    value = _transposed(net, value, 12, 2, group=2)
    pool = net.op("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
    mean = net.op("AveragePool", value, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    value = net.op("Concat", pool, mean, axis=1)
    value = net.op("Reshape", value, net.const([1, 2, 12, 22, 22], np.int64))
    value = net.op("Transpose", value, perm=[0, 2, 1, 3, 4])
    value = _of(net, 24, net.op("Reshape", value, net.const([1, 24, 22, 22], np.int64)))
    value = _of(net, 8, net.op("Tanh", net.conv(value, 8, 1)))
    return net.save(path, net.conv(value, 7, 3))


def _of(net: Net, channels: int, value: str) -> str:
    net.channels[value] = channels
    return value


def _transposed(net: Net, value: str, channels: int, kernel: int, **attrs: Any) -> str:
    """A transposed convolution to twice the size, and a bias."""
    random = np.random.default_rng(len(net.nodes))
    shape = (net.channels[value], channels // attrs.get("group", 1), kernel, kernel)
    weight = net.const(random.standard_normal(shape).astype(np.float32) / 4)
    bias = net.const(random.standard_normal(channels).astype(np.float32))
    made = net.op("ConvTranspose", value, weight, bias, strides=[2, 2], **attrs)
    return _of(net, channels, made)
