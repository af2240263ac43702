"""Every activation of a quantised file is a table, in a convolution's kernel or by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_nets import Net
from quantized_files import computed, differences, quantized_by_onnxruntime

import tvm_mobilenet as tm
from tvm_mobilenet.models.network import Network, network_from
from tvm_mobilenet.models.quantized.model import Dequantize

SHAPE = (1, 3, 15, 13)


def gelu(net: Net, x: str) -> str:
    curve = net.op("Erf", net.op("Div", x, net.const(math.sqrt(2))))
    product = net.op("Mul", x, net.op("Add", curve, net.const(1.0)))
    return str(net.op("Mul", product, net.const(0.5)))


KINDS: dict[str, Callable[[Net, str], str]] = {
    "sigmoid": lambda net, x: net.op("Sigmoid", x),
    "silu": lambda net, x: net.op("Mul", x, net.op("Sigmoid", x)),
    "tanh": lambda net, x: net.op("Tanh", x),
    "gelu": gelu,
    "mish": lambda net, x: net.op("Mul", x, net.op("Tanh", net.op("Softplus", x))),
    "leakyrelu(0.1)": lambda net, x: net.op("LeakyRelu", x, alpha=0.1),
    "hardswish": lambda net, x: net.act(x, "hardswish", "spelled"),
}
"""By activation, how a file spells it; the last one's Clip is dropped as it is quantised."""


def behind_convolutions() -> tuple[Net, str]:
    """Each in the kernel of the convolution before it."""
    net = Net(SHAPE, seed=2)
    x = "image"
    for spelled in KINDS.values():
        x = spelled(net, net.conv(x, 10, 3, bias=True))
        net.channels[x] = 10
    return net, net.conv(x, 4, bias=True)


def alone() -> tuple[Net, str]:
    """Each behind a sum, a pool or a concatenation."""
    net = Net(SHAPE, seed=3)
    x = net.conv("image", 10, 3, bias=True)
    for at, spelled in enumerate(KINDS.values()):
        other = net.conv(x, 10, bias=True)
        if at % 3 == 0:
            x = net.add(x, other)
        elif at % 3 == 1:
            x = net.op("MaxPool", other, kernel_shape=[2, 2])
        else:
            x = net.op("Concat", x, other, axis=1)
        x = spelled(net, x)
        net.channels[x] = 20 if at % 3 == 2 else 10
        if at % 3 == 2:
            x = net.conv(x, 10, bias=True)
    return net, net.conv(x, 4, bias=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    made: dict[tuple[str, str], Path] = {}

    def file(build: Callable[[], tuple[Net, str]], form: str) -> Path:
        key = build.__name__, form
        if key not in made:
            net, last = build()
            folder = tmp_path_factory.mktemp("_".join(key))
            x = np.random.default_rng(5).normal(0, 2, SHAPE).astype(np.float32)
            plain = net.save(folder / "plain.onnx", last)
            made[key] = quantized_by_onnxruntime(plain, folder / "net.onnx", x, form)
        return made[key]

    return file


def activations(network: Network) -> list[str]:
    layers = network.model.layers
    found = [getattr(layer, "activation", "none") for layer in layers]
    return [activation for activation in found if activation != "none"]


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("build", [behind_convolutions, alone])
def test_all_of_them_are_tables(
    build: Callable[[], tuple[Net, str]], form: str, files: Callable[..., Path]
) -> None:
    """None is in float32, and each is ONNX Runtime's but for an element."""
    path = files(build, form)
    network = network_from(path, None, 0)
    *before, last = network.model.layers
    assert all(layer.name in network.records for layer in before)
    assert isinstance(last, Dequantize)
    assert activations(network) == [*KINDS]
    x = np.random.default_rng(6).normal(0, 2, SHAPE).astype(np.float32)
    apart = differences(network, computed(onnx.load(path), x), x)
    assert len(apart) > len(KINDS)
    assert max(one.max() for one in apart.values()) <= 1


def test_their_kernels_are_exact(files: Callable[..., Path]) -> None:
    """Compiling verifies; seven convolutions with a table each, and tables by themselves."""
    for build, operator in ((behind_convolutions, "qconv"), (alone, "qtable")):
        compiled = tm.compile(network_from(files(build, "QDQ"), None, 0), target="native")
        kernels = [call["kernel"].partition("_")[0] for call in compiled.manifest["calls"]]
        assert kernels.count(operator) == len(KINDS)
