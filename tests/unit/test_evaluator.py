"""What judges operators that are not ours: right by the standard, and as onnxruntime has it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tvm_mobilenet.errors import UnjudgedError
from tvm_mobilenet.models.evaluator import run_graph, run_node

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 4, 5, 6)).astype(np.float32)
NO = np.zeros(0, np.float32)


def computed(op: str, opset: int, *inputs: Any, by: Any = "onnx", outputs: int = 1, **attrs: Any):
    names = [f"i{k}" if value is not None else "" for k, value in enumerate(inputs)]
    node = helper.make_node(op, names, [f"o{k}" for k in range(outputs)], **attrs)
    fed = {n: np.asarray(v) for n, v in zip(names, inputs, strict=True) if v is not None}
    return run_node(node, opset, fed, {n: v.dtype for n, v in fed.items()}, by=by)[0]


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def scales(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def sizes(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


LINE = np.array([[[[1, 2, 3, 4]]]], np.float32)


@pytest.mark.parametrize(
    ("opset", "mode", "scale", "attrs", "want"),
    [
        (7, "nearest", 2, {}, [1, 1, 2, 2, 3, 3, 4, 4]),
        (9, "nearest", 2, {}, [1, 1, 2, 2, 3, 3, 4, 4]),
        (9, "linear", 2, {}, [1, 1.5, 2, 2.5, 3, 3.5, 4, 4]),
        (10, "nearest", 0.5, {}, [1, 3]),
        (13, "linear", 1.4, {}, [1, 1.571429, 2.285714, 3, 3.714286]),
        (13, "nearest", 0.7, {"coordinate_transformation_mode": "asymmetric",
                              "nearest_mode": "floor"}, [1, 2]),
        (11, "nearest", 2, {"coordinate_transformation_mode": "tf_half_pixel_for_nn",
                            "nearest_mode": "floor"}, [1, 1, 2, 2, 3, 3, 4, 4]),
        (13, "cubic", 2, {"exclude_outside": 1, "cubic_coeff_a": -0.5,
                          "coordinate_transformation_mode": "align_corners"},
         [1, 1.33515, 1.84104, 2.285714, 2.714286, 3.15896, 3.66485, 4]),
    ],
)  # fmt: skip
def test_resize_by_hand(opset: int, mode: str, scale: float, attrs: dict, want: list) -> None:
    factors = scales(1, 1, 1, scale)
    if opset == 7:
        found = computed("Upsample", 7, LINE, mode=mode, scales=[1.0, 1.0, 1.0, float(scale)])
    elif opset < 11:
        found = computed("Upsample" if opset == 9 else "Resize", opset, LINE, factors, mode=mode)
    else:
        found = computed("Resize", opset, LINE, NO, factors, mode=mode, **attrs)
    np.testing.assert_allclose(found.ravel(), want, atol=2e-5)


def test_softmax_before_13_flattens_from_its_axis_on() -> None:
    x = RNG.standard_normal((2, 3, 4, 5))
    for axis in range(4):
        rows = np.exp(x).reshape(*x.shape[:axis], -1)
        want = (rows / rows.sum(axis=-1, keepdims=True)).reshape(x.shape)
        np.testing.assert_allclose(computed("Softmax", 11, x, axis=axis), want)
        np.testing.assert_allclose(computed("LogSoftmax", 11, x, axis=axis), np.log(want))
        assert computed("Hardmax", 11, x, axis=axis).sum() == np.prod(x.shape[:axis])
    np.testing.assert_allclose(computed("Softmax", 13, x, axis=1).sum(axis=1), 1)


def test_what_is_masked_has_no_share() -> None:
    found = computed("Softmax", 13, np.array([[0.0, -np.inf, 0.0]], np.float32))
    np.testing.assert_array_equal(found, [[0.5, 0, 0.5]])


def test_response_normalization_over_channels() -> None:
    want = np.empty(X.shape)
    for c in range(4):
        near = X[:, max(0, c - 1) : c + 3].astype(np.float64)
        want[:, c] = X[:, c] / (1.5 + 0.5 / 4 * (near**2).sum(axis=1)) ** 0.6
    np.testing.assert_allclose(
        computed("LRN", 13, X, size=4, alpha=0.5, beta=0.6, bias=1.5), want, rtol=1e-6
    )


SOFTMAXES = [
    (op, opset, (RNG.standard_normal(shape).astype(np.float32),), {"axis": axis})
    for op in ("Softmax", "LogSoftmax", "Hardmax")
    for opset in (7, 12, 13)
    for shape in ((3, 4), (2, 3, 4, 5))
    for axis in range(0 if opset < 11 else -len(shape), len(shape))
]
SPREAD = [
    ("ConvTranspose", 11, (X, f(4, per, 3, 3), f(per * group)), {"group": group, **attrs})
    for group, per in ((1, 3), (2, 3), (4, 1))
    for attrs in (
        {"strides": [2, 1], "pads": [1, 0, 0, 1]},
        {"strides": [2, 2], "output_padding": [1, 1], "pads": [1, 1, 1, 1]},
        {"dilations": [2, 1], "strides": [1, 2]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        {"output_shape": [11, 12], "strides": [2, 2]},
    )
]
CONVOLVED = [
    ("Conv", 11, (X, f(*shape), f(shape[0])), {"group": group, **attrs})
    for group, shape in ((1, (3, 4, 3, 3)), (2, (6, 2, 3, 2)), (4, (8, 1, 2, 2)))
    for attrs in (
        {"strides": [2, 1], "pads": [1, 0, 2, 1]},
        {"dilations": [2, 2], "pads": [2] * 4},
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    )
]
POOLED = [
    (op, 19, (X,), attrs)
    for op in ("MaxPool", "AveragePool")
    for attrs in (
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"kernel_shape": [3, 3], "strides": [3, 2], "pads": [1, 0, 0, 1], "ceil_mode": 1},
        {"kernel_shape": [2, 2], "dilations": [2, 2]},
    )
] + [("AveragePool", 19, (X,), {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1})]
RESIZED = [
    ("Resize", 13, (X, NO, scales(1, 1, *by)), {"mode": mode,
     "coordinate_transformation_mode": where, **attrs})
    for by in ((2, 0.5), (1.4, 1.45), (0.7, 2.6))
    for where in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    for mode, attrs in (
        ("linear", {}),
        ("cubic", {"exclude_outside": 1}),
        *(("nearest", {"nearest_mode": n}) for n in ("floor", "ceil", "round_prefer_floor")),
    )
] + [
    ("Resize", 11, (X, NO, scales(1, 1, 1.6, 2)),
     {"mode": "nearest", "coordinate_transformation_mode": "tf_half_pixel_for_nn"}),
    ("Resize", 13, (X, scales(0, 0, 0.1, 0.2, 1, 1, 0.8, 1.2), None, sizes(2, 4, 4, 5)),
     {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize",
      "extrapolation_value": 7.0}),
    ("Resize", 18, (X, None, None, sizes(9, 9)),
     {"mode": "linear", "axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}),
    ("Resize", 18, (X, None, scales(0.5, 0.6)), {"mode": "cubic", "axes": [2, 3], "antialias": 1}),
    ("Resize", 10, (X, scales(1, 1, 0.6, 1.7)), {"mode": "nearest"}),
    ("Resize", 10, (X, scales(1, 1, 0.6, 1.7)), {"mode": "linear"}),
    ("Upsample", 9, (X, scales(1, 1, 1.5, 2.5)), {"mode": "nearest"}),
    ("Resize", 13, (X, NO, None, sizes(2, 4, 1, 7)), {"mode": "linear",
     "coordinate_transformation_mode": "pytorch_half_pixel"}),
]  # fmt: skip
OTHERS = [
    ("LRN", 13, (X,), {"size": 3}),
    ("BatchNormalization", 9, (X, *(np.abs(f(4)) + 0.5 for _ in range(4))), {"epsilon": 1e-3}),
    ("MeanVarianceNormalization", 13, (X,), {}),
    ("Pad", 13, (X, sizes(0, 0, -1, 2, 0, 0, 1, -1), np.float32(3)), {}),
    ("Pad", 10, (X,), {"pads": [0, 0, 1, 2, 0, 0, 1, 1], "mode": "reflect"}),
    ("Pad", 18, (X, sizes(1, -1), None, sizes(3)), {"mode": "edge"}),
]


@pytest.mark.parametrize(
    ("op", "opset", "inputs", "attrs"),
    [*SOFTMAXES, *SPREAD, *CONVOLVED, *POOLED, *RESIZED, *OTHERS],
)
def test_as_onnxruntime_has_it(op: str, opset: int, inputs: tuple, attrs: dict) -> None:
    pytest.importorskip("onnxruntime")
    want = computed(op, opset, *inputs, by="onnxruntime", **attrs)
    found = computed(op, opset, *inputs, **attrs)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, want, atol=2e-5)


def graph(*nodes: Any, shape: tuple[int, ...], dtype: int = TensorProto.FLOAT) -> Any:
    made = helper.make_graph(
        list(nodes), "g", [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_empty_tensor_value_info("y")],
    )  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_what_one_cannot_the_other_does_and_what_none_can_says_so(monkeypatch) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("GlobalLpPool", ["a"], ["b"]),
        helper.make_node("Neg", ["b"], ["y"]),
    ]
    model = graph(*nodes, shape=X.shape)
    want = -np.sqrt((X.clip(0) ** 2).sum(axis=(2, 3), keepdims=True))
    if sys.modules.get("onnxruntime") or pytest.importorskip("onnxruntime"):
        np.testing.assert_allclose(run_graph(model, X).values["y"], want, rtol=1e-5)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = run_graph(model, X)
    assert set(found.unjudged) == {"b", "y"}
    assert "onnxruntime is not installed" in found.unjudged["b"]
    assert "a" in found.values
    found = run_graph(model, X, given={"b": -want})
    assert not found.unjudged
    np.testing.assert_allclose(found.values["y"], want)
    with pytest.raises(UnjudgedError, match="GlobalLpPool"):
        computed("GlobalLpPool", 13, X)


def test_a_size_that_onnx_infers_otherwise_goes_on() -> None:
    """Ten times 1.4 is 14 in float32, as runtimes multiply, and 13 to onnx's inference."""
    nodes = [
        helper.make_node("Constant", [], ["s"], value=numpy_helper.from_array(scales(1.4))),
        helper.make_node("Resize", ["x", "", "s"], ["r"], axes=[3]),
        helper.make_node("Neg", ["r"], ["y"]),
    ]
    model = graph(*nodes, shape=(1, 1, 1, 10))
    model.opset_import[0].version = 18
    found = run_graph(model, np.arange(10, dtype=np.float32).reshape(1, 1, 1, 10))
    assert not found.unjudged
    assert found.values["y"].shape == (1, 1, 1, 14)


def test_halves_are_rounded_where_the_file_has_halves() -> None:
    """In double precision in between, and so beyond 65504 what is infinite there is so here."""
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Mul", ["h", "h"], ["s"]),
        helper.make_node("Cast", ["s"], ["y"], to=TensorProto.FLOAT),
    ]
    x = np.array([1.0009765625, 300.0, 0.1], np.float32)
    model = graph(*nodes, shape=x.shape)
    halves = x.astype(np.float16).astype(np.float64)
    with np.errstate(over="ignore"):
        want = (halves**2).astype(np.float16).astype(np.float64)
        found = run_graph(model, x).values["y"]
    assert np.isinf(found[1])
    np.testing.assert_array_equal(found, want)
