"""Imported networks: a right artifact is never called wrong, a wrong one never right."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_module import Fake
from onnx import helper, numpy_helper
from onnx_nets import Net

from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.models.importer import Imported, import_onnx
from tvm_mobilenet.models.spec import INPUT, Activate, Model, Operator
from tvm_mobilenet.verify.artifact import sample_input, verify
from tvm_mobilenet.verify.report import not_judged
from tvm_mobilenet.verify.rounding import WIDEST


def network(folder: Path, shape: tuple[int, ...] = (1, 3, 12, 12)) -> Imported:
    """Ours, TVM's in the middle of it, and ours again."""
    net = Net(shape)
    x = net.act(net.norm(net.conv("image", 8, 3, strides=[2, 2])), "relu")
    up = net.op("Resize", net.op("Softsign", x), "", net.const([1, 1, 2, 2]),
                mode="linear")  # fmt: skip
    net.channels[up] = 8
    y = net.conv(net.depthwise(up), 6, bias=True)
    flat = net.op("Flatten", net.op("GlobalAveragePool", y))
    logits = net.op("Gemm", flat, net.const(net.weight(6, 5)), net.const(np.ones(5)))
    return import_onnx(net.save(folder / "net.onnx", net.op("Softmax", logits, axis=1), up))


def judged(imported: Imported, x: Any = None, **options: Any) -> Any:
    fake = Fake(imported.model, options.pop("weights", imported.weights), **options)
    return verify(fake, imported.model, imported.weights, x, expect=imported.evaluate)


def test_what_is_right_passes_and_says_who_judged(tmp_path: Path) -> None:
    report = judged(network(tmp_path))
    report.check()
    assert report.relative < 1e-5
    assert {row.judge for row in report.rows} == {"reference", "onnx"}
    assert {row.verdict for row in report.rows} == {"ok"}
    assert not report.unjudged
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["passed"]


def one_weight(weights: dict, name: str) -> dict:
    value = weights[name].copy()
    value.flat[1] *= np.float32(1.01)
    return {**weights, name: value}


def names_of(imported: Imported, kind: str) -> str:
    return next(
        layer.name
        for layer in imported.model.layers
        if kind in (type(layer).__name__, getattr(layer, "operator", ""))
    )


@pytest.mark.parametrize("parameter", ["weight", "bias"])
def test_a_spoiled_constant_of_the_artifact_is_found(parameter: str, tmp_path: Path) -> None:
    imported = network(tmp_path)
    name = next(n for n in reversed(imported.weights) if n.endswith(parameter))
    report = judged(imported, weights=one_weight(imported.weights, name))
    with pytest.raises(VerificationError, match=name.rsplit(".", 1)[0]):
        report.check()


@pytest.mark.parametrize("kind", ["Conv2d", "Softsign", "Resize", "GlobalAvgPool"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda y: np.roll(y, 1, axis=-1),
        lambda y: y[:, [1, 0, *range(2, y.shape[1])]],
        lambda y: np.where(np.arange(y.size).reshape(y.shape) == 3, y + np.float32(0.01), y),
    ],
    ids=["shifted", "two channels", "one element"],
)
def test_a_wrong_kernel_is_found(kind: str, spoil: Any, tmp_path: Path) -> None:
    """Also where it is TVM's."""
    imported = network(tmp_path)
    name = names_of(imported, kind)
    if kind == "GlobalAvgPool" and np.array_equal(spoil(np.ones((1, 6))), np.ones((1, 6))):
        spoil = lambda y: y[:, ::-1]  # noqa: E731  it has no pixels to shift
    report = judged(imported, spoil={name: lambda y: spoil(y).astype(np.float32)})
    assert [row.layers[0] for row in report.rows if not row.passed] == [name]
    with pytest.raises(VerificationError, match=rf"layer {name} \(k_{name}\) is wrong"):
        report.check()


@pytest.mark.parametrize("what", ["weight", "stride", "activation"])
def test_a_layer_that_was_read_wrong_is_named(what: str, tmp_path: Path) -> None:
    """Though every kernel does what the model says."""
    imported = network(tmp_path)
    model, weights = imported.model, dict(imported.weights)
    layer = model.layer(names_of(imported, "Conv2d"))
    if what == "weight":
        weights = one_weight(weights, f"{layer.name}.weight")
    elif what == "stride":
        layer = dataclasses.replace(layer, padding=(0, 0, 2, 2))
    else:
        layer = dataclasses.replace(layer, activation="relu6")
    wrong = dataclasses.replace(
        model, layers=tuple(layer if one.name == layer.name else one for one in model.layers)
    )
    imported = dataclasses.replace(imported, model=wrong, weights=weights)
    x = 4 * sample_input(model.input_shape)
    report = judged(imported, x)
    assert all(row.passed for row in report.rows)
    with pytest.raises(VerificationError, match=f"{layer.name} is not what the ONNX file says"):
        report.check()


def chaotic(folder: Path, apart: float) -> Imported:
    """A difference of two almost equal maps, which magnifies rounding."""
    net = Net((1, 3, 8, 8))
    x = net.act(net.conv("image", 6, 3), "relu")
    near = net.op("Mul", x, net.const(np.full((1, 6, 1, 1), 1 + apart, np.float32)))
    small = net.op("Sub", near, x)
    net.channels[small] = 6
    return import_onnx(net.save(folder / "net.onnx", net.conv(small, 4)))


def test_magnified_rounding_is_accepted_up_to_a_limit_and_never_hides_a_fault(
    tmp_path: Path,
) -> None:
    report = judged(chaotic(tmp_path, 1e-3))
    report.check()
    assert 1e-5 < report.relative <= report.tolerance <= WIDEST["float32"]
    assert not report.why_not
    imported = chaotic(tmp_path, 2e-6)
    report = judged(imported)
    report.check()
    # Two digits are left: that is right kernel by kernel, and not judged as a whole.
    assert report.relative > WIDEST["float32"]
    assert report.why_not
    assert "not judged as a whole" in not_judged(report.to_dict())
    assert report.tolerance <= WIDEST["float32"]
    last = imported.model.layers[-1].name
    with pytest.raises(VerificationError, match="is wrong"):
        judged(imported, spoil={last: lambda y: np.roll(y, 1, axis=-1)}).check()
    # Right kernels whose results the output is not: a wrong copy of it.
    with pytest.raises(VerificationError, match="the output has relative error"):
        judged(imported, after=lambda y: y * np.float32(1 + 1e-2)).check()


def test_an_operator_that_nobody_can_compute_is_not_judged_and_spoils_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = network(tmp_path)
    name = names_of(imported, "Resize")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    whole = Fake(imported.model, imported.weights)
    x = sample_input(imported.model.input_shape)
    traces, outputs = whole.trace(x), whole(x)

    def cannot(*_: Any) -> None:
        raise ValueError("not implemented")

    monkeypatch.setitem(sys.modules["tvm_mobilenet.models.onnx_operators"]._CORRECTED,
                        "Resize", cannot)  # fmt: skip

    def report_of(spoil: Any = None) -> Any:
        module = type("Module", (), {
            "trace": lambda _, __: [
                t._replace(output=spoil(t.output)) if spoil and t is traces[-1] else t
                for t in traces
            ],
            "__call__": lambda _, __: outputs,
        })()  # fmt: skip
        return verify(module, imported.model, imported.weights, x, expect=imported.evaluate)

    report = report_of()
    report.check()
    assert report.unjudged == (name,)
    (row,) = (row for row in report.rows if not row.judge)
    assert (row.verdict, row.passed) == ("not judged", True)
    assert all(row.relative < 1e-5 for row in report.rows)
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["unjudged"] == [name]
    assert f"1 layers not judged: {name}" in not_judged(report.to_dict())
    # What comes behind it is judged as ever.
    assert not report_of(lambda y: y[:, ::-1]).passed


def test_two_that_agree_outvote_onnxs_evaluator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    imported = network(tmp_path)
    name = names_of(imported, "Resize")
    monkeypatch.setitem(sys.modules["tvm_mobilenet.models.onnx_operators"]._CORRECTED,
                        "Resize", lambda _attrs, _opset, x, *_: np.repeat(
                            np.repeat(x, 2, axis=2), 2, axis=3))  # fmt: skip
    right = Fake(imported.model, imported.weights)
    right.by = "onnxruntime"
    report = verify(right, imported.model, imported.weights, expect=imported.evaluate)
    report.check()
    assert {row.layers[0]: row.judge for row in report.rows}[name] == "onnxruntime"
    assert report.relative < 1e-5
    wrong = Fake(imported.model, imported.weights, spoil={name: lambda y: y[:, ::-1]})
    wrong.by = "onnxruntime"
    assert not verify(wrong, imported.model, imported.weights, expect=imported.evaluate).passed


def test_what_is_not_finite_is_right_where_both_have_it(tmp_path: Path) -> None:
    """A mask of -inf, and a logarithm of what is not positive."""
    net = Net((1, 3, 6, 6))
    y = net.conv("image", 4, 3)
    mask = np.zeros((1, 4, 6, 6), np.float32)
    mask[0, 0, :, 3] = -np.inf
    masked = net.op("Add", y, net.const(mask))
    outputs = net.op("Softmax", masked, axis=1), net.op("Log", y)
    imported = import_onnx(net.save(tmp_path / "net.onnx", *outputs))
    report = judged(imported)
    report.check()
    assert report.relative < 1e-5
    logarithm = names_of(imported, "Log")
    assert np.isnan(imported.expected(sample_input((1, 3, 6, 6)))[logarithm]).any()

    def finite(y: Any) -> Any:
        return np.nan_to_num(y)

    for name in (logarithm, names_of(imported, "Add")):
        with pytest.raises(VerificationError, match=name):
            judged(imported, spoil={name: finite}).check()


def test_a_jump_is_judged_on_what_it_was_given(tmp_path: Path) -> None:
    """Of two classes that tie, rounding chooses; a choice that the map does not justify fails."""
    net = Net((1, 3, 8, 8))
    y = net.conv("image", 4)
    tied = net.op("Concat", y, net.op("Mul", y, net.const(1 + 2.0**-23)), axis=1)
    imported = import_onnx(net.save(tmp_path / "net.onnx", net.op("ArgMax", tied, axis=1)))
    concat, best = names_of(imported, "Concat"), names_of(imported, "ArgMax")

    def rounded_apart(y: Any) -> Any:
        return (y * np.where(np.arange(8) < 4, 1 + 2.0**-22, 1)[None, :, None, None]).astype(
            y.dtype
        )

    report = judged(imported, spoil={concat: rounded_apart})
    report.check()
    ties = imported.expected(sample_input((1, 3, 8, 8)))[best]
    assert ties.max() > 3
    with pytest.raises(VerificationError, match=best):
        judged(imported, spoil={best: lambda y: (y + 1) % 8}).check()


def operator(name: str, source: str, node: Any, dtypes: tuple[str, str]) -> Operator:
    """A layer of one operator, whatever the importer makes of such today."""
    shape, (before, after) = (1, 8, 5, 5), map(np.dtype, dtypes)
    one = helper.make_model(
        helper.make_graph(
            [node],
            "one",
            [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(before), shape)],
            [helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(after), shape)],
            [numpy_helper.from_array(np.array(1.3, before), "c")],
        ),
        opset_imports=[helper.make_opsetid("", 13)],
    )
    return Operator(
        name, (source,), shape, node.op_type, (), dtypes, shape, (), 0, one.SerializeToString()
    )


def test_halves_may_lose_what_halves_lose() -> None:
    """An island of float16 in a network of float32."""
    half, single = "float16", "float32"
    layers = (
        Activate("a", (INPUT,), (1, 8, 5, 5), "relu"),
        operator("in", "a", helper.make_node("Cast", ["x"], ["y"], to=10), (single, half)),
        operator("mul", "in", helper.make_node("Mul", ["x", "c"], ["y"]), (half, half)),
        operator("out", "mul", helper.make_node("Cast", ["x"], ["y"], to=1), (half, single)),
    )
    model = Model("m", "M", {}, (1, 8, 5, 5), layers)

    def report_of(**factors: float) -> Any:
        spoil = {
            name: lambda y, f=f: (y * np.float32(f)).astype(y.dtype) for name, f in factors.items()
        }
        return verify(Fake(model, {}, spoil=spoil), model, {})

    report = report_of(mul=1.001)
    report.check()
    assert 1e-5 < report.relative < report.tolerance == 1e-2
    # What moves halves may round once, float32 beside them not even that, and nothing a tenth.
    for name, factor in (("mul", 1.1), ("in", 1.003), ("a", 1.0001)):
        with pytest.raises(VerificationError, match=rf"layer {name} "):
            report_of(**{name: factor}).check()


@pytest.mark.parametrize(
    "shape", [(1, 64, 1, 1), (2, 3, 1, 4), (1, 1, 3, 1), (1, 1, 1, 3), (1, 8, 8, 1), (2, 5), (7,)]
)
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_there_is_a_sample_of_every_shape_and_type(shape: tuple[int, ...], dtype: str) -> None:
    x = sample_input(shape, dtype=dtype)
    assert (x.shape, x.dtype) == (shape, np.dtype(dtype))
    assert np.isfinite(x).all()
    assert len(np.unique(x)) > 1
    if dtype == "uint8":
        assert 20 < x.mean() < 236
    else:
        assert np.abs(x).max() <= 2.71


def test_a_head_alone_is_verified(tmp_path: Path) -> None:
    net = Net((1, 16, 1, 1))
    net.channels["image"] = 16
    flat = net.op("Flatten", net.act(net.conv("image", 8), "hardsigmoid"))
    out = net.op("Gemm", flat, net.const(net.weight(8, 5)), net.const(np.ones(5)))
    report = judged(import_onnx(net.save(tmp_path / "net.onnx", out)))
    report.check()
    assert 0 < report.relative < 1e-5
