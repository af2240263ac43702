"""Networks that detect and segment compile whole: several outputs by name, sizes not square."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_nets import Net

import tvm_mobilenet as tm
from tvm_mobilenet.models import reference


class Detector(Net):
    """What detectors are made of."""

    def relu(self, x: str) -> str:
        return self.act(x, "relu")

    def separable(self, x: str, channels: int, stride: int = 1) -> str:
        y = self.depthwise(x, strides=[stride, stride])
        return self.conv(y, channels, bias=True)

    def rows(self, x: str, columns: int) -> str:
        """Spread a head's map: a row of `columns` numbers for each anchor."""
        moved = self.op("Transpose", x, perm=[0, 2, 3, 1])
        return str(self.op("Reshape", moved, self.const([1, -1, columns], np.int64)))

    def resized(self, x: str, height: int, width: int, **how: str) -> str:
        sizes = self.const([1, self.channels[x], height, width], np.int64)
        return str(self.op("Resize", x, "", "", sizes, **how))

    def joined(self, *maps: str) -> str:
        y = str(self.op("Concat", *maps, axis=1))
        self.channels[y] = sum(self.channels[x] for x in maps)
        return y


def blazeface(folder: Path) -> Path:
    """Of TensorFlow: an NHWC image, channels padded, windows of 2 x 2; two heads of two outputs."""
    net = Detector((1, 64, 48, 3))
    image = net.op("Transpose", "image", perm=[0, 3, 1, 2])
    net.channels[image] = 3
    x = net.relu(net.conv(image, 24, 5, strides=[2, 2], bias=True, pads=[1, 1, 2, 2]))
    x = net.relu(net.op("Add", x, net.separable(x, 24)))
    small = net.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    wide = net.op("Pad", small, net.const([0, 0, 0, 0, 0, 8, 0, 0], np.int64))
    net.channels[wide] = 32
    x = net.relu(net.op("Add", wide, net.separable(x, 32, 2)))
    y = net.relu(net.separable(x, 32, 2))
    found = []
    for tap, anchors in ((x, 2), (y, 6)):
        found += [net.rows(net.conv(tap, anchors, bias=True), 1)]
        found += [net.rows(net.conv(tap, anchors * 16, bias=True), 16)]
    return net.save(folder / "net.onnx", *found)


def ssdlite(folder: Path) -> Path:
    """Heads of maps of three sizes joined, scores and decoded boxes."""
    net = Detector((1, 3, 56, 72))
    x, taps = net.conv("image", 16, 3, strides=[2, 2], bias=True), []
    for channels in (24, 32, 48):
        x = net.act(net.separable(net.act(x, "relu6"), channels, 2), "relu6")
        taps.append(x)
    heads: dict[int, list[str]] = {5: [], 4: []}
    for x in taps:
        for columns, rows in heads.items():
            rows.append(
                net.rows(net.conv(net.act(net.depthwise(x), "relu6"), 3 * columns), columns)
            )
    scores = net.op("Sigmoid", net.op("Concat", *heads[5], axis=1))
    boxes = net.op("Concat", *heads[4], axis=1)
    axis = net.const([2], np.int64)
    ends = [net.const([at], np.int64) for at in (0, 2, 4)]
    place, size = (net.op("Slice", boxes, *ends[at : at + 2], axis) for at in (0, 1))
    half = net.op("Mul", net.op("Exp", net.op("Mul", size, net.const(0.2))), net.const(0.5))
    corners = net.op("Sub", place, half), net.op("Add", place, half)
    return net.save(folder / "net.onnx", scores, net.op("Concat", *corners, axis=2))


def deeplab(folder: Path) -> Path:
    """Dilated convolutions side by side, the image's mean among them, resized to the image."""
    net = Detector((1, 3, 33, 49))
    x = net.relu(net.conv("image", 16, 3, strides=[2, 2], bias=True))
    x = net.relu(net.separable(x, 24, 2))
    parts = [net.relu(net.conv(x, 16, bias=True))]
    for apart in (2, 3):
        parts.append(net.relu(net.conv(x, 16, 3, dilations=[apart] * 2, pads=[apart] * 4)))
    mean = net.relu(net.conv(net.op("GlobalAveragePool", x), 16, bias=True))
    how = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    net.channels[mean] = 16
    parts.append(net.resized(mean, 9, 13, **how))
    for part in parts:
        net.channels[part] = 16
    y = net.conv(net.relu(net.conv(net.joined(*parts), 24)), 7, bias=True)
    return net.save(folder / "net.onnx", net.resized(y, 33, 49, **how), x)


def text_detection(folder: Path) -> Path:
    """Maps of two sizes added and joined; one channel is enlarged twice to the image's size."""
    net = Detector((1, 3, 40, 64))
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric",
               "nearest_mode": "floor"}  # fmt: skip
    fine = net.relu(net.separable(net.conv("image", 16, 3, strides=[2, 2]), 24, 2))
    coarse = net.relu(net.separable(fine, 24, 2))
    up = net.resized(coarse, 10, 16, **nearest)
    net.channels[up] = 24
    y = net.conv(net.joined(net.op("Add", fine, up), up), 20, 3, bias=True)
    for channels in (20, 1):
        weight = net.const(net.weight(net.channels[y], channels, 2, 2))
        y = net.op("ConvTranspose", net.relu(y), weight, strides=[2, 2])
        net.channels[y] = channels
        y = net.norm(y)
    return net.save(folder / "net.onnx", net.op("Sigmoid", y))


@pytest.mark.parametrize("make", [blazeface, ssdlite, deeplab, text_detection])
def test_a_network_with_maps_for_answers(make: Any, tmp_path: Path) -> None:
    imported = tm.import_onnx(make(tmp_path))
    compiled = tm.compile(imported)  # verified kernel by kernel
    x = np.random.default_rng(3).standard_normal(imported.model.input_shape).astype(np.float32)
    found = compiled.module(x)
    found = found if isinstance(found, tuple) else (found,)
    expected = imported.expected(x)
    assert len(found) == len(imported.model.outputs) == len(imported.source.graph.output)
    for name, got in zip(imported.model.outputs, found, strict=True):
        assert reference.relative_error(got, expected[name]) < 1e-5, name
    # No convolution is left to TVM.
    left = {c["operator"] for c in compiled.manifest["calls"] if c["source"] == "fallback"}
    assert not [name for name in left if "Conv" in name]


def test_outputs_of_a_detector_are_saved_by_their_names(tmp_path: Path) -> None:
    imported = tm.import_onnx(blazeface(tmp_path))
    artifact = tm.compile(imported, verify=False).export(tmp_path / "net.so")
    x = np.random.default_rng(4).standard_normal((2, 64, 48, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    command = (sys.executable, "-m", "tvm_mobilenet", "run", artifact, tmp_path / "x.npy")
    done = subprocess.run(
        [*map(str, (*command, "--save", tmp_path / "y.npz", "--json"))],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    module = tm.load(artifact)
    each = [module(image[None]) for image in x]
    titles = [output.name for output in imported.source.graph.output]
    with np.load(tmp_path / "y.npz") as saved:
        assert list(saved) == titles
        for at, title in enumerate(titles):
            np.testing.assert_array_equal(saved[title], np.concatenate([one[at] for one in each]))
    told = json.loads(done.stdout)["outputs"]
    assert [row["shape"][1:] for row in told] == [[384, 1], [384, 16], [288, 1], [288, 16]]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_narrow_map_is_enlarged_by_channels_that_become_pixels(
    channels: int, tmp_path: Path
) -> None:
    net = Detector((2, 8, 5, 7))
    net.channels["image"] = 8
    y = net.relu(net.conv("image", 20, 3))
    weight, bias = net.weight(20, channels, 3, 3), np.arange(channels) - 0.5
    y = net.op("ConvTranspose", y, net.const(weight), net.const(bias), strides=[3, 3])
    net.channels[y] = channels
    imported = tm.import_onnx(net.save(tmp_path / "net.onnx", net.op("Sigmoid", net.norm(y))))
    squares, pixels = imported.model.layers[-2:]
    assert squares.out_shape == (2, 9 * channels, 5, 7)
    assert squares.activation == "sigmoid"
    assert pixels.operator == "DepthToSpace"
    assert pixels.out_shape == (2, channels, 15, 21)
    compiled = tm.compile(imported)
    operators = {call["operator"] for call in compiled.manifest["calls"]}
    assert {"pointwise", "moves"} <= operators
    assert "conv_transpose" not in operators
