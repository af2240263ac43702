"""What Resize and Upsample mean: right numbers, and onnxruntime's for every mode and scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_cases import compiled_says, onnxruntime_says, same, saved
from onnx_nets import Net

from tvm_mobilenet.models.importer.expand import expand
from tvm_mobilenet.models.resizing import Attributes, taps

FOUR = np.array([1.0, 2.0, 3.0, 4.0])


def resized(rule: Attributes, scale: float, length: int | None = None) -> list[float]:
    """Four numbers, resized."""
    after = int(np.floor(np.float32(4) * np.float32(scale))) if length is None else length
    table = taps(rule, 4, after, scale, (0.0, 1.0))
    found = (FOUR[table.at] * table.weights).sum(axis=1)
    return [round(float(value), 3) for value in found]


@pytest.mark.parametrize(
    ("rule", "scale", "want"),
    [
        (Attributes("nearest", "asymmetric", "floor"), 2.0, [1, 1, 2, 2, 3, 3, 4, 4]),
        (Attributes("linear", "half_pixel"), 1.4, [1, 1.571, 2.286, 3, 3.714]),
        (Attributes("nearest", "asymmetric", "floor"), 0.7, [1, 2]),
        (Attributes("linear", "align_corners"), 1.75, [1, 1.5, 2, 2.5, 3, 3.5, 4]),
        (Attributes("nearest", "half_pixel", "round_prefer_ceil"), 0.5, [2, 4]),
        (Attributes("nearest", "half_pixel", "round_prefer_floor"), 0.5, [1, 3]),
        (Attributes("linear", "pytorch_half_pixel"), 0.25, [1]),
    ],
)
def test_numbers_that_are_right(rule: Attributes, scale: float, want: list[float]) -> None:
    assert resized(rule, scale) == want


def test_unknown_words_are_named() -> None:
    with pytest.raises(ValueError, match="sideways"):
        taps(Attributes(coordinates="sideways"), 4, 8, 2.0, (0, 1))
    with pytest.raises(ValueError, match="up"):
        taps(Attributes(nearest="up"), 4, 8, 2.0, (0, 1))
    with pytest.raises(ValueError, match="area"):
        taps(Attributes("area"), 4, 8, 2.0, (0, 1))


COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric",
               "half_pixel_symmetric", "tf_half_pixel_for_nn")  # fmt: skip
WAYS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("scales", [(2.0, 2.0), (1.4, 1.45), (0.7, 0.65), (3.0, 0.5)])
def test_every_mode_is_onnxruntimes(
    coordinates: str, scales: tuple[float, float], tmp_path: Path
) -> None:
    """As nodes that other runtimes have: what is compiled, without compiling it."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    x = np.random.default_rng(0).standard_normal((1, 2, 6, 8)).astype(np.float32)
    modes: list[dict[str, Any]] = [
        *({"mode": "nearest", "nearest_mode": way} for way in WAYS),
        {"mode": "linear"},
        {"mode": "cubic"},
        {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5},
    ]
    if coordinates == "half_pixel":
        modes += [{"mode": mode, "antialias": 1} for mode in ("linear", "cubic")]
    for attrs in modes:
        net = Net(x.shape, 11 if coordinates == "tf_half_pixel_for_nn" else 19)
        empty = [net.const([])] if net.opset < 13 else [""]
        y = net.op("Resize", "image", *empty, net.const([1, 1, *scales]),
                   coordinate_transformation_mode=coordinates, **attrs)  # fmt: skip
        path = saved(net, tmp_path / "net.onnx", y)
        want = onnxruntime_says(path, x)
        model = expand(net.model(y))
        assert {node.op_type for node in model.graph.node}.isdisjoint({"Resize", "Upsample"})
        (tmp_path / "expanded.onnx").write_bytes(model.SerializeToString())
        same(onnxruntime_says(tmp_path / "expanded.onnx", x), want)


def _old(net: Net, scales: list[float], mode: str) -> str:
    """Upsample, or Resize of opset 10."""
    operator = "Upsample" if net.opset < 10 else "Resize"
    if net.opset < 9:
        return str(net.op(operator, "image", mode=mode, scales=[1.0, 1.0, *scales]))
    return str(net.op(operator, "image", net.const([1, 1, *scales]), mode=mode))


@pytest.mark.parametrize("opset", [7, 9, 10])
def test_old_ones_compiled(opset: int, tmp_path: Path) -> None:
    """Growing and, in opset 10, shrinking: there the pixel behind is the nearest one."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    net = Net((1, 2, 6, 8), opset)
    scales = [[2.0, 2.0], [1.5, 2.3]] + [[0.6, 0.5], [2.0, 0.5]] * (opset == 10)
    outputs = [_old(net, scale, mode) for scale in scales for mode in ("nearest", "linear")]
    path = saved(net, tmp_path / "net.onnx", *outputs)
    x = np.random.default_rng(1).standard_normal((1, 2, 6, 8)).astype(np.float32)
    same(compiled_says(path, x), onnxruntime_says(path, x))


def test_a_size_is_a_product_in_float32(tmp_path: Path) -> None:
    """Ten times 1.4 is 14; onnx's own inference says 13."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    net = Net((1, 2, 10, 10), 13)
    attrs = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
    wide = net.op("Resize", "image", "", net.const([1, 1, 1.4, 1.4]), nearest_mode="floor", **attrs)
    wider = net.op("Resize", wide, "", net.const([1, 1, 1.4, 2.2]), nearest_mode="floor", **attrs)
    path = saved(net, tmp_path / "net.onnx", wider)
    x = np.random.default_rng(1).standard_normal((1, 2, 10, 10)).astype(np.float32)
    found = compiled_says(path, x)
    same(found, onnxruntime_says(path, x))
    assert found[0].shape == (1, 2, 19, 30)


def test_upsample_of_four_numbers(tmp_path: Path) -> None:
    net = Net((1, 1, 1, 4), 7)
    path = saved(net, tmp_path / "net.onnx", _old(net, [1.0, 2.0], "nearest"))
    (found,) = compiled_says(path, FOUR.astype(np.float32).reshape(1, 1, 1, 4))
    assert found.ravel().tolist() == [1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_sizes_compiled(opset: int, tmp_path: Path) -> None:
    """By sizes, with empty scales where they are not optional; cropped, kept in proportion."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    net = Net((1, 2, 6, 8), opset)

    def sized(*sizes: int, roi: list[float] | None = None, **attrs: Any) -> str:
        empty = net.const([]) if opset < 13 else ""
        region = empty if roi is None else net.const(roi)
        size = net.const(sizes, np.int64)
        return str(net.op("Resize", "image", region, empty, size, **attrs))

    pixels = "coordinate_transformation_mode"
    outputs = [
        sized(1, 2, 9, 11, mode="linear", **{pixels: "pytorch_half_pixel"}),
        sized(1, 2, 1, 1, mode="linear", **{pixels: "pytorch_half_pixel"}),
        sized(1, 2, 4, 5, mode="cubic", **{pixels: "align_corners"}),
        sized(1, 2, 5, 7, roi=[0, 0, 0.1, 0.2, 1, 1, 0.8, 1.3], mode="linear",
              extrapolation_value=9.0, **{pixels: "tf_crop_and_resize"}),
    ]  # fmt: skip
    if opset == 18:
        for policy in ("not_larger", "not_smaller"):
            kept = {"axes": [2, 3], "keep_aspect_ratio_policy": policy}
            outputs.append(sized(9, 20, mode="nearest", **kept))
        outputs.append(sized(4, 4, mode="linear", axes=[3, 2], antialias=1))
    path = saved(net, tmp_path / "net.onnx", *outputs)
    x = np.random.default_rng(1).standard_normal((1, 2, 6, 8)).astype(np.float32)
    same(compiled_says(path, x), onnxruntime_says(path, x))
