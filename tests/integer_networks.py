"""Networks that compute in integers, for tests: odd sizes of every kernel."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from onnx_nets import Net

import tvm_mobilenet as tm
from tvm_mobilenet.models.initialization import initialize
from tvm_mobilenet.models.network import Network
from tvm_mobilenet.models.quantized.model import Dequantize, Quantization
from tvm_mobilenet.models.quantized.pixels import of_pixels
from tvm_mobilenet.models.spec import (
    INPUT,
    Activate,
    Add,
    Conv2d,
    Dense,
    GlobalAvgPool,
    Layer,
    Model,
    Scale,
    Softmax,
)
from tvm_mobilenet.models.tensors import TensorType
from tvm_mobilenet.models.weights import Weights
from tvm_mobilenet.quantization.calibration import quantize
from tvm_mobilenet.runtime.recipe import RECIPES
from tvm_mobilenet.verify.artifact import sample_input


def conv(
    name: str, source: Layer | tuple[int, ...], out: int, kernel: Any = 1, **more: Any
) -> Conv2d:
    """Return a convolution with a bias; `source` is a layer, or the network's input."""
    of = (INPUT, source) if isinstance(source, tuple) else (source.name, source.out_shape)
    size = (kernel, kernel) if isinstance(kernel, int) else kernel
    return Conv2d(name, (of[0],), of[1], out, size, bias=True, **more)


def odd_layers(batch: int) -> list[Layer]:
    """Return layers of odd sizes: every kind of window, tails of channels, both residual orders."""
    c1 = conv(
        "c1", (batch, 3, 21, 19), 20, 3, strides=(2, 2), padding=(1, 1, 1, 1), activation="relu6"
    )
    d1 = conv("d1", c1, 20, 3, padding=(1, 1, 1, 1), groups=20, activation="relu")
    p1 = conv("p1", d1, 37)
    d2 = conv(
        "d2", p1, 37, 5, strides=(2, 2), padding=(1, 2, 2, 1), groups=37, activation="hardswish"
    )
    p2 = conv("p2", d2, 24)
    d3 = conv("d3", p2, 24, (7, 3), padding=(3, 1, 3, 1), groups=24, activation="hardsigmoid")
    p3 = conv("p3", d3, 24)
    a1 = Add("a1", ("p3", "p2"), p3.out_shape)
    p4 = conv("p4", a1, 24)
    a2 = Add("a2", ("a1", "p4"), p4.out_shape)
    f1 = conv("f1", a2, 18, 3, padding=(1, 0, 0, 1), activation="relu")
    s1 = GlobalAvgPool("s1", ("f1",), f1.out_shape, keep_map=True)
    s2 = conv("s2", s1, 18, activation="hardsigmoid")
    m1 = Scale("m1", ("f1", "s2"), f1.out_shape)
    t1 = Activate("t1", ("m1",), m1.out_shape, "hardswish")
    a3 = Add("a3", ("t1", "f1"), t1.out_shape)
    d4 = conv("d4", a3, 18, (1, 2), strides=(1, 2), groups=18)
    g1 = GlobalAvgPool("g1", ("d4",), d4.out_shape)
    h1 = Dense("h1", ("g1",), g1.out_shape, 33, True, "hardswish")
    return [c1, d1, p1, d2, p2, d3, p3, a1, p4, a2, f1, s1, s2, m1, t1, a3, d4, g1, h1]


def quantized(model: Model, seed: int = 0, keep: tuple[str, ...] = ()) -> Network:
    """Return a model with seeded weights, quantised by what it makes of two images."""
    return with_weights(model, initialize(model, seed), seed, keep)


def with_weights(model: Model, weights: Weights, seed: int, keep: tuple[str, ...] = ()) -> Network:
    """Return a model, quantised by what it makes of two images."""
    images = [sample_input(model.input_shape, at, dtype=model.input_dtype) for at in range(2)]
    made = quantize(model, weights, images, keep=keep)
    return Network(made.model.model, made.weights, f"seed:{seed}", records=made.model.records)


@functools.cache
def odd_network(batch: int = 2, keep: tuple[str, ...] = (), *, softmax: bool = True) -> Network:
    """Return :func:`odd_layers` with a classifier, quantised."""
    layers = odd_layers(batch)
    last = Dense("y", ("h1",), layers[-1].out_shape, 11, True)
    layers.append(last)
    if softmax:
        layers.append(Softmax("z", ("y",), last.out_shape))
    return quantized(Model("odd", "odd", {}, layers[0].in_shape, tuple(layers)), keep=keep)


@functools.cache
def pixel_network(batch: int = 2) -> Network:
    """Return a network of raw pixels: a first convolution with odd borders, pool, classifier."""
    c1 = conv("c1", (batch, 3, 21, 19), 20, 3, strides=(2, 2), padding=(1, 2, 0, 1))
    g1 = GlobalAvgPool("g1", ("c1",), c1.out_shape)
    y = Dense("y", ("g1",), g1.out_shape, 11, True)
    model = Model("pixels", "pixels", {}, c1.in_shape, (c1, g1, y))
    return with_weights(*of_pixels(model, initialize(model, 0), RECIPES["torchvision"]), 0)


def joined(batch: int = 2) -> Net:
    """Return a graph of what is in networks that are no MobileNets: pools, joins, groups."""
    net = Net((batch, 3, 21, 19), seed=3)
    stem = net.act(net.conv("image", 24, 3, bias=True, strides=[2, 2]), "relu")
    pooled = net.op(
        "MaxPool", stem, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1
    )
    one = net.act(net.conv(pooled, 21, 1, bias=True), "relu")
    two = net.act(net.conv(pooled, 18, 1, groups=3, bias=True), "hardswish")
    mean = net.op("AveragePool", pooled, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    three = net.conv(mean, 10, 1, groups=2, bias=True)
    both = net.op("Concat", one, pooled, two, three, axis=1)
    net.channels[both] = 21 + 24 + 18 + 10
    last = net.act(net.conv(both, 33, 1, bias=True), "relu")
    most = net.op("GlobalMaxPool", last)
    net.conv(most, 11, 1, bias=True)
    return net


@functools.cache
def joined_network(batch: int = 2) -> Network:
    """Return :func:`joined` quantised."""
    net = joined(batch)
    with tempfile.TemporaryDirectory() as folder:
        path = net.save(Path(folder) / "net.onnx", net.nodes[-1].output[0])
        imported = tm.import_onnx(path)
    return with_weights(imported.model, imported.weights, 0)


@functools.cache
def older_network(batch: int = 2, zero_point: int = 151) -> Network:
    """Return a network as older files are: weights of uint8 with one zero point, and a softmax."""
    layers = odd_layers(batch)[:3]
    layers.append(GlobalAvgPool("g1", ("p1",), layers[-1].out_shape))
    layers.append(Dense("h1", ("g1",), layers[-1].out_shape, 33, True, "hardswish"))
    layers.append(Dense("y", ("h1",), layers[-1].out_shape, 11, True))
    made = quantized(Model("older", "older", {}, layers[0].in_shape, tuple(layers)))
    records, weights = dict(made.records), dict(made.weights)
    for name, record in made.records.items():
        if record.weight is None:
            continue
        numbers = np.rint(weights[f"{name}.weight"] * 1.19) + zero_point
        weights[f"{name}.weight"] = numbers.clip(0, 255).astype(np.uint8)
        scale = float(np.mean(record.weight.scale)) / 1.19
        kind = TensorType("uint8", (scale,), zero_point)
        records[name] = dataclasses.replace(record, weight=kind)
    logits = TensorType("uint8", (0.02,), 128)
    records["y"] = dataclasses.replace(records["y"], output=logits)
    records["z"] = Quantization(TensorType("uint8", (1 / 256,), 0))
    shape = layers[-1].out_shape
    behind = (Softmax("z", ("y",), shape), Dequantize("z.dequantized", ("z",), shape))
    model = dataclasses.replace(
        made.model, layers=(*made.model.layers, *behind), outputs=(behind[-1].name,)
    )
    return dataclasses.replace(made, model=model, weights=weights, records=records)
