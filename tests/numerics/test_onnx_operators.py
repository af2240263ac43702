"""Operators of every opset, compiled alone: onnxruntime says what each should give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_cases import compiled_says, onnxruntime_says, same, saved
from onnx_nets import Net

from tvm_mobilenet.errors import UnsupportedOperatorError

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

SHAPE = (1, 4, 6, 8)
Build = Callable[[Net], Any]
CASES: dict[str, tuple[tuple[int, ...], Build]] = {}
"""Opsets, and what appends the operator to ``"image"``."""


def case(name: str, *opsets: int) -> Callable[[Build], Build]:
    def keep(build: Build) -> Build:
        CASES[name] = (opsets, build)
        return build

    return keep


def ints(net: Net, *values: int) -> str:
    return net.const(values, np.int64)


def check(net: Net, outputs: Any, folder: Path) -> None:
    names = outputs if isinstance(outputs, list) else [outputs]
    path = saved(net, folder / "net.onnx", *names)
    x = np.random.default_rng(1).standard_normal(net.shape).astype(np.float32)
    same(compiled_says(path, x), onnxruntime_says(path, x))


# What older opsets have as attributes.


@case("slice", 7, 9, 10)
def _slice(n: Net) -> Any:
    if n.opset < 10:
        return n.op("Slice", "image", axes=[1, -1], starts=[1, -6], ends=[3, 1000])
    return n.op("Slice", "image", ints(n, 1, -6), ints(n, 3, 1000), ints(n, 1, -1))


@case("split", 7, 13, 18)
def _split(n: Net) -> Any:
    if n.opset < 13:
        return n.op("Split", "image", axis=1, split=[1, 3], outputs=2)
    return n.op("Split", "image", ints(n, 1, 3), axis=1, outputs=2)


@case("split evenly", 7, 18)
def _split_evenly(n: Net) -> Any:
    count = {"num_outputs": 2} if n.opset >= 18 else {}
    return n.op("Split", "image", axis=-1, outputs=2, **count)


@case("split_read_in_part", 11, 18)
def _split_read_in_part(n: Net) -> Any:
    """What nobody reads says how large the others are."""
    count = {"num_outputs": 2} if n.opset >= 18 else {}
    return n.op("Relu", n.op("Split", "image", axis=1, outputs=2, **count)[1])


@case("squeeze", 11, 13)
def _squeeze(n: Net) -> Any:
    y = n.op("ReduceMax", "image", axes=[1])
    return n.op("Squeeze", y, axes=[1]) if n.opset < 13 else n.op("Squeeze", y, ints(n, 1))


@case("top", 7, 10, 13)
def _top(n: Net) -> Any:
    if n.opset < 10:
        return n.op("TopK", "image", k=3, axis=1, outputs=2)
    return n.op("TopK", "image", ints(n, 3), axis=1, outputs=2)


@case("smallest, by columns", 11)
def _smallest(n: Net) -> Any:
    return n.op("TopK", "image", ints(n, 2), axis=-1, largest=0, outputs=2)


@case("best", 7, 13)
def _best(n: Net) -> Any:
    return [n.op("ArgMax", "image", axis=1, keepdims=0), n.op("ArgMin", "image", axis=-1)]


# What older opsets mean otherwise.


@pytest.mark.parametrize("opset", [7, 12, 13])
def test_softmax_of_four_axes(opset: int, tmp_path: Path) -> None:
    """Until opset 12 it flattens what stands behind the axis."""
    net = Net((1, 3, 2, 4), opset)
    axes: list[dict[str, int]] = [{}, {"axis": 2}, {"axis": -1 if opset >= 11 else 3}]
    outputs = [
        net.op(operator, "image", **axis)
        for operator in ("Softmax", "LogSoftmax", "Hardmax")
        for axis in axes
    ]
    check(net, outputs, tmp_path)


def norm(n: Net, outputs: int = 1, **attrs: Any) -> Any:
    parts = [n.rng.uniform(0.5, 1.5, 4), *n.rng.standard_normal((2, 4)), n.rng.uniform(0.5, 1.5, 4)]
    return n.op(
        "BatchNormalization", "image", *(n.const(p) for p in parts), outputs=outputs, **attrs
    )


@case("batch norm of five outputs, which is training", 7, 9, 13)
def _five(n: Net) -> Any:
    return norm(n, 5)[0]


@case("batch norm in training", 14, 15)
def _training(n: Net) -> Any:
    return norm(n, 3, training_mode=1)


@case("dropout and its mask", 10, 13)
def _dropout(n: Net) -> Any:
    return n.op("Dropout", n.op("Softsign", "image"), outputs=2)


@case("power by an integer", 13)
def _power(n: Net) -> Any:
    return [n.op("Pow", "image", n.const(e, np.int64)) for e in (2, 3)]


# What TVM's importer lacks or has wrong.


@case("group norm", 21)
def _groups(n: Net) -> Any:
    return n.op(
        "GroupNormalization", "image", n.const(n.weight(4)), n.const(n.weight(4)), num_groups=2
    )


@case("instance norm", 7, 17)
def _instance(n: Net) -> Any:
    return n.op("InstanceNormalization", "image", n.const(n.weight(4)), n.const(n.weight(4)))


@case("mean and variance", 9, 13)
def _mean_variance(n: Net) -> Any:
    return n.op("MeanVarianceNormalization", "image")


@case("maxima whose places nobody reads", 8, 12)
def _maxima(n: Net) -> Any:
    window = {"kernel_shape": [3, 3], "strides": [2, 2]}
    one = n.op("MaxPool", "image", **window, pads=[1] * 4, outputs=2)[0]
    two = n.op("MaxPool", "image", **window, storage_order=1, outputs=2)[0]
    return [one, two]


@case("maxima, dilated and rounded up", 10, 12)
def _dilated(n: Net) -> Any:
    window = {"kernel_shape": [2, 2], "strides": [2, 2]}
    return n.op("MaxPool", "image", **window, dilations=[2, 2], ceil_mode=1)


@case("repeated", 7, 13)
def _tile(n: Net) -> Any:
    """Three times four rows: LLVM 22 wrote a quarter of them, for AVX-512."""
    return n.op("Tile", n.op("Reshape", "image", ints(n, 1, 3, 4, 16)), ints(n, 1, 3, 4, 2))


@case("scattered", 11, 16)
def _scatter(n: Net) -> Any:
    rows = n.const(np.array([[[[2, 0, 5, 1]] * 1] * 4]).reshape(1, 4, 1, 4), np.int64)
    one = n.op("ScatterElements", "image", rows, n.const(n.weight(1, 4, 1, 4)), axis=2)
    two = n.op(
        "ScatterND", "image", n.const([[0, 1], [0, 3]], np.int64), n.const(n.weight(2, 6, 8))
    )
    return [one, two]


@case("one hot", 11)
def _one_hot(n: Net) -> Any:
    best = n.op("ArgMax", "image", axis=1, keepdims=0)
    return n.op("OneHot", best, n.const(4, np.int64), n.const([0.5, 2.0]), axis=1)


@case("running sums", 11, 14)
def _sums(n: Net) -> Any:
    back = n.op("CumSum", "image", n.const(-1, np.int64), exclusive=1, reverse=1)
    return [n.op("CumSum", "image", n.const(2, np.int64)), back]


@case("einsum, greatest, least, mean", 12)
def _several(n: Net) -> Any:
    other = n.op("Softsign", "image")
    two = [n.op(op, "image", other, n.const(0.3)) for op in ("Max", "Min", "Mean")]
    return [*two, n.op("Einsum", "image", n.const(n.weight(8, 5)), equation="nchw,wk->nchk")]


@case("norms of rows, infinities on one side", 10)
def _rows(n: Net) -> Any:
    infinite = n.op("Div", "image", n.op("Floor", n.op("Abs", "image")))
    flags = [n.op("IsInf", infinite, **{f"detect_{side}": 0}) for side in ("positive", "negative")]
    return [n.op("LpNormalization", "image", axis=1), *flags]


@case("norms of an embedding", 7, 17)
def _embedding(n: Net) -> Any:
    flat = n.op("Flatten", "image")
    return [n.op("LpNormalization", flat), n.op("LpNormalization", flat, axis=1, p=1)]


@case("transposed convolutions", 11)
def _transposed(n: Net) -> Any:
    weight, stride = n.const(n.weight(4, 5, 3, 3)), {"strides": [2, 2]}
    some: list[dict[str, Any]] = [
        {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}, {"output_shape": [12, 16]},
    ]  # fmt: skip
    grouped = n.op("ConvTranspose", "image", n.const(n.weight(4, 3, 3, 3)), group=2, **stride)
    return [grouped, *(n.op("ConvTranspose", "image", weight, **stride, **kind) for kind in some)]


@pytest.mark.parametrize(
    ("name", "opset"), [(name, opset) for name, (opsets, _) in CASES.items() for opset in opsets]
)
def test_an_operator(name: str, opset: int, tmp_path: Path) -> None:
    net = Net(SHAPE, opset)
    check(net, CASES[name][1](net), tmp_path)


REDUCTIONS = ("Max", "Mean", "Prod", "L1", "L2", "LogSumExp", "SumSquare", "Sum")


@pytest.mark.parametrize("opset", [7, 13, 18])
def test_reductions_of_some_and_of_all_axes(opset: int, tmp_path: Path) -> None:
    net = Net((1, 3, 2, 4), opset)
    positive, outputs = net.op("Sigmoid", "image"), []  # sums that cancel are next to nothing
    for name in REDUCTIONS if opset == 18 else ("Mean", "Sum", "Max"):
        operator = f"Reduce{name}"
        as_input = opset >= 18 or (name == "Sum" and opset >= 13)
        given = {} if as_input else {"axes": [1, -1]}
        outputs.append(net.op(operator, "image", *([ints(net, 1, -1)] * as_input), **given))
        outputs.append(net.op(operator, positive, keepdims=len(outputs) // 2 % 2))
        if opset >= 18:  # nothing is summed, yet L1 is an absolute value
            outputs.append(net.op(operator, "image", noop_with_empty_axes=1))
    check(net, outputs, tmp_path)


MODES = ("constant", "reflect", "edge")


@pytest.mark.parametrize(
    ("mode", "opset"), [*((mode, opset) for mode in MODES for opset in (9, 13, 19)), ("wrap", 19)]
)
def test_pads(mode: str, opset: int, tmp_path: Path) -> None:
    """In front, behind, of channels, negative, and some of each."""
    net = Net(SHAPE, opset)
    outputs = []
    for pads in ([0, 0, 1, 2, 0, 0, 1, 0], [0, 1, 0, 0, 0, 2, 0, 0], [0, 0, -1, 2, 0, 0, 1, -2]):
        if opset < 11:
            value = {"value": 1.5} if mode == "constant" else {}
            outputs.append(net.op("Pad", "image", pads=pads, mode=mode, **value))
        else:
            value = [net.const(1.5)] if mode == "constant" else []
            outputs.append(net.op("Pad", "image", ints(net, *pads), *value, mode=mode))
    if opset >= 18 and mode == "constant":
        some = (ints(net, 1, 2, -1, 0), net.const(2.0), ints(net, -2, 1))
        outputs.append(net.op("Pad", "image", *some))
    check(net, outputs, tmp_path)


@pytest.mark.parametrize("opset", [7, 11, 13])
def test_clips(opset: int, tmp_path: Path) -> None:
    net = Net(SHAPE, opset)
    outputs = []
    for low, high in ((0, 1), (None, 0.5), (-1, None), (-1, 1), (0, 65504), (None, None)):
        if opset < 11:
            bounds = {"min": low, "max": high}
            given = {name: float(value) for name, value in bounds.items() if value is not None}
            outputs.append(net.op("Clip", "image", **given))
        else:
            least = "" if low is None else net.const(low)
            most = [] if high is None else [net.const(high)]
            outputs.append(net.op("Clip", "image", least, *most))
    if opset >= 11:
        mean, best = (net.op(f"Reduce{how}", "image", keepdims=0) for how in ("Mean", "Max"))
        outputs += [net.op("Clip", "image", mean, best), net.op("Clip", "image", best, mean)]
    check(net, outputs, tmp_path)


@pytest.mark.parametrize("opset", [7, 11, 13])
def test_products_with_biases_of_every_shape(opset: int, tmp_path: Path) -> None:
    net = Net(SHAPE, opset)
    rows = net.op("Reshape", "image", ints(net, 4, 48))
    columns = net.op("Transpose", rows, perm=[1, 0])
    weight, outputs = net.const(net.weight(48, 5)), []
    for shape in ((5,), (), (4, 1), (4, 5)):
        bias = net.const(net.rng.standard_normal(shape))
        outputs.append(net.op("Gemm", rows, weight, bias, alpha=0.5, beta=2.0))
        outputs.append(net.op("Gemm", columns, weight, bias, transA=1))
    outputs.append(net.op("Gemm", rows, weight, net.const(np.zeros(5))))
    column = net.const([[10.0], [20.0], [30.0], [40.0]])
    outputs.append(net.op("Gemm", rows, net.const(np.zeros((48, 2))), column))
    check(net, outputs, tmp_path)
    path = saved(net, tmp_path / "column.onnx", outputs[-1])
    (found,) = compiled_says(path, np.zeros(SHAPE, np.float32))
    np.testing.assert_array_equal(found, [[10, 10], [20, 20], [30, 30], [40, 40]])


def test_outputs_that_no_node_computes(tmp_path: Path) -> None:
    """The image, a view of it, a constant, and one tensor twice: none is the caller's memory."""
    net = Net(SHAPE, 17)
    anchors = onnx.numpy_helper.from_array(np.arange(6, dtype=np.float32))
    net.nodes.append(onnx.helper.make_node("Constant", [], ["anchors"], value=anchors))
    y = net.conv("image", 4, 3)
    views = [net.op("Identity", "image"), net.op("Flatten", "image"), net.op("Shape", "image")]
    outputs = [*views, "anchors", y, net.op("Identity", y), net.op("Flatten", y)]
    path = saved(net, tmp_path / "net.onnx", *outputs)
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    found = compiled_says(path, x)
    same(found, onnxruntime_says(path, x))
    assert not any(np.shares_memory(array, x) for array in found)


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda n: n.op("MaxPool", "image", kernel_shape=[2, 2], outputs=2), "places of its max"),
        (lambda n: n.op("Dropout", "image", n.const(0.5), n.const(True, np.bool_)), "draws random"),
        (lambda n: n.op("Det", "image"), "cannot compile the operator Det"),
        (
            lambda n: n.op(
                "ScatterElements", "image",
                n.op("ArgMax", "image", axis=2), n.op("ReduceMax", "image", axes=[2]), axis=2,
            ),
            "depends on the image",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_compiled_is_named(build: Build, why: str, tmp_path: Path) -> None:
    net = Net((1, 4, 6, 6), 13)
    outputs = build(net)
    names = outputs if isinstance(outputs, list) else [outputs]
    path = saved(net, tmp_path / "net.onnx", *names)
    with pytest.raises(UnsupportedOperatorError, match=why):
        compiled_says(path, np.zeros((1, 4, 6, 6), np.float32))
