"""Networks through Relay: built, compiled by our TE schedules, verified kernel by kernel."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from every_kind import every_kind

import tvm_mobilenet as tm
from tvm_mobilenet.emit.relay.emit import emit
from tvm_mobilenet.errors import (
    CInterfaceError,
    InputError,
    MissingRecordsError,
    QuantizationError,
    StackError,
    VerificationError,
)
from tvm_mobilenet.machine import TargetSpec, parse
from tvm_mobilenet.models.network import network_from
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.network.plan import NetworkPlan
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.runtime.artifact import read_manifest
from tvm_mobilenet.verify.artifact import sample_input

OURS = {"nn.conv2d", "nn.dense", "nn.batch_norm", "mean", "multiply", "add", "clip", "nn.relu",
        "nn.softmax"}  # fmt: skip
"""Operators of Relay's that a network of ours must not call."""


@pytest.fixture(scope="module")
def v1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)
    path = tmp_path_factory.mktemp("classic") / "v1.so"
    return tm.compile(model, stack="relay", fusion="none").export(path)


def test_every_kernel_is_a_te_schedule_of_ours_and_right(v1: Path) -> None:
    manifest = read_manifest(v1)
    assert manifest["stack"] == "relay"
    assert manifest["verification"]["relative"] < 1e-5
    assert {call["source"] for call in manifest["calls"]} == {"rule"}
    assert {call["schedule"] for call in manifest["calls"]} == {
        *("te.conv", "te.depthwise", "te.pointwise", "te.pool", "te.dense", "te.softmax")
    }
    assert [name for call in manifest["calls"] for name in call["layers"]] == [
        layer.name for layer in tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10).layers
    ]


@pytest.fixture
def _without_topi() -> Iterator[None]:
    """Relay cannot schedule a convolution or dense layer of its own."""
    from tvm import relay

    names = ["nn.conv2d", "nn.contrib_conv2d_NCHWc", "nn.contrib_depthwise_conv2d_NCHWc"]
    operators = [relay.op.get(name) for name in (*names, "nn.dense", "nn.contrib_dense_pack")]
    strategies = [operator.get_attr("FTVMStrategy") for operator in operators]
    for operator in operators:
        operator.reset_attr("FTVMStrategy")
    yield
    for operator, strategy in zip(operators, strategies, strict=True):
        operator.set_attr("FTVMStrategy", strategy)


@pytest.mark.usefixtures("_without_topi")
def test_topi_schedules_nothing_of_ours() -> None:
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)
    found = tm.compile(model, target="x86-64-v3", verify=False).manifest["calls"]
    assert not any(call["source"] == "fallback" for call in found)
    from tvm import IRModule, relay, transform

    x, weight = relay.var("x", shape=(1, 3, 8, 8)), relay.var("w", shape=(4, 3, 3, 3))
    with transform.PassContext(opt_level=0), pytest.raises(Exception, match="Strategy"):
        relay.build(IRModule.from_expr(relay.nn.conv2d(x, weight)), target="llvm")


@pytest.mark.parametrize(
    "build_model",
    [
        lambda: tm.mobilenet_v2(alpha=0.35, resolution=32, classes=10),
        lambda: tm.mobilenet_v3_small(resolution=32, classes=10, batch=2),
        lambda: tm.build("mnasnet-a1", alpha=0.5, resolution=33, classes=10),
    ],
    ids=["v2", "v3-small", "mnasnet"],
)
def test_residuals_gates_and_batches_are_right(build_model: Callable[[], tm.Model]) -> None:
    compiled = tm.compile(build_model(), fusion="all")
    report = tm.verify(compiled.module)
    assert report.passed
    assert len(report.rows) == len(compiled.manifest["calls"])


def test_full_convolutions_after_the_first_read_plain_maps() -> None:
    model = tm.build("v4-conv-small", alpha=0.5, resolution=33, classes=10)
    manifest = tm.compile(model).manifest
    assert manifest["verification"]["relative"] < 1e-5
    moved = [call for call in manifest["calls"] if not call["layers"]]
    assert len(moved) == 2
    assert {call["source"] for call in manifest["calls"] if call["layers"]} == {"rule"}


def test_a_network_of_every_kind_of_layer_is_right(tmp_path: Path) -> None:
    """Each is told by its layers, also those that Relay puts into blocks of its own."""
    manifest = tm.compile(every_kind(tmp_path / "net.onnx")).manifest
    assert manifest["verification"]["relative"] < 1e-5
    kernels = {call["kernel"] for call in manifest["calls"] if call["layers"]}
    for name in ("conv2d_NCHWc", "nn_conv2d_add", "conv2d_transpose", "max_pool", "average_pool"):
        assert any(name in kernel for kernel in kernels), name


def planned(model: Model, target: TargetSpec, **options: Any) -> NetworkPlan:
    return plan_network(model, target, stack="relay", **options)


def test_the_graph_holds_no_operator_that_our_kernels_compute() -> None:
    from tvm import ir, relay

    network = network_from(tm.mobilenet_v3_small(resolution=32, classes=10), None, 0)
    lowered = emit(planned(network.model, parse("x86-64-v4")), network.weights)
    names: set[str] = set()

    def note(expr: Any) -> None:
        if isinstance(expr, ir.Op):
            names.add(str(expr.name))

    relay.analysis.post_order_visit(lowered.mod["main"], note)
    assert names
    assert not names & OURS
    layers = [name for call in lowered.calls for name in call.layers]
    assert layers == [layer.name for layer in network.model.layers]


def test_layers_share_kernels_as_asked() -> None:
    model = tm.mobilenet_v2(alpha=0.35, resolution=32, classes=10)
    weights = network_from(model, None, 0).weights
    apart, joined = (
        emit(planned(model, parse("x86-64-v4"), fusion=fusion), weights).calls
        for fusion in ("none", "all")
    )
    assert not [call for call in apart if call.work.operator == "separable"]
    blocks = [call.layers for call in joined if call.work.operator == "separable"]
    assert len(blocks) == 17
    assert ("block3.dw", "block3.project", "block3.add") in blocks
    assert [n for call in apart for n in call.layers] == [n for c in joined for n in c.layers]


def test_kernels_prefetch_the_weights_of_later_ones() -> None:
    """As the main stack's do: each line once, by kernels that come before its own."""
    model = tm.mobilenet_v1(alpha=0.25, resolution=64, classes=100)
    small = {"cores": 1, "l2_bytes": 128 << 10, "l3_bytes": 2 << 20}
    target = dataclasses.replace(parse("native"), **small)
    lowered = emit(planned(model, target), network_from(model, None, 0).weights)
    fetched: dict[str, list[int]] = {}
    for at, call in enumerate(lowered.calls):
        pieces = json.loads(call.expr.attrs["ahead"])
        for (_, _, first, lines), weight in zip(
            pieces[::-1], list(call.expr.args)[::-1], strict=False
        ):
            name = str(weight.name_hint)
            fetched.setdefault(name, []).extend(range(first, first + lines))
            (own,) = (i for i, c in enumerate(lowered.calls) if weight in list(c.expr.args)[1:2])
            assert own > at
    assert "classifier.weight" in fetched
    assert all(len(lines) == len(set(lines)) for lines in fetched.values())
    assert tm.compile(model, target=target).manifest["verification"]["relative"] < 1e-5


def test_a_call_checks_copies_and_answers_anew(v1: Path) -> None:
    module = tm.load(v1, threads=1)
    x = sample_input((1, 3, 32, 32))
    first, second = module(x), module(2 * x)
    assert first.shape == (1, 10)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(module(x), first)
    np.testing.assert_array_equal(module(x[:, :, ::-1][:, :, ::-1]), first)
    with pytest.raises(InputError, match="NHWC"):
        module(x.transpose(0, 2, 3, 1))


def test_a_wrong_weight_is_found_and_named(v1: Path) -> None:
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)
    weights = dict(network_from(model, None, 0).weights)
    module = tm.load(v1)
    from tvm_mobilenet.verify.artifact import verify

    weights["block3.pw.weight"] = weights["block3.pw.weight"] * 1.01
    with pytest.raises(VerificationError, match=r"block3\.pw"):
        verify(module, model, weights).check()


def test_profile_replays_the_network(v1: Path) -> None:
    module = tm.load(v1, threads=1)
    x = sample_input((1, 3, 32, 32))
    spans = [span for _, span in module.profile(x, repeats=10).calls]
    assert len(spans) == len(module.manifest["calls"])
    assert min(spans) > 0
    kernels = module.kernels(x)
    kernels.replay()
    assert kernels.alone(2, repeats=1, milliseconds=1) > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "sm_90"}, "'CUDA is not enabled'"),
        ({"target": "opencl", "fusion": "all"}, "no schedule of fused blocks for opencl"),
        ({"target": "opencl", "dtype": "float16"}, "float32, not float16"),
        ({"stack": "relax"}, "needs apache-tvm"),
        ({"stack": "onnx"}, "unknown"),
    ],
)
def test_what_this_stack_has_not_is_refused_by_name(options: dict[str, object], words: str) -> None:
    with pytest.raises(StackError, match=words):
        tm.compile("v1", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"calibration": "photographs"}])
def test_integers_are_refused_by_name(options: dict[str, str]) -> None:
    """Before any image is read."""
    with pytest.raises(QuantizationError, match=r"no kernels in integers here \(the relay stack\)"):
        tm.compile("v1", dtype="int8", **options)


@pytest.mark.parametrize(("name", "value"), [("prefix", "net"), ("emit", "a")])
def test_c_functions_are_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(CInterfaceError, match=f"no {name} here.*relay stack"):
        tm.compile("v1", **{name: value})  # type: ignore[arg-type]


def test_recorded_knobs_are_taken_and_bad_ones_named() -> None:
    from tvm_mobilenet.emit.relay.codegen import generate

    network = network_from(tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10), None, 0)
    target = parse("x86-64-v3")
    calls = planned(network.model, target, fusion="none").calls
    first, second = (call.work.key for call in calls[2:6:2])
    knobs = {
        first: {"vectors": 1, "pixels": 3, "chunks": 1, "prefetch": "none", "threads": "one"},
        second: {"warp": 1},
    }
    plan = planned(network.model, target, knobs_for=knobs.get, fusion="none")
    choices = generate(emit(plan, network.weights)).choices
    assert choices.taken[first].chosen == knobs[first]
    assert choices.taken[first].source == "record"
    assert choices.taken[second].source == "rule"
    (note,) = plan.notes
    assert second in note
    assert "'warp'" in note


def test_records_can_be_required() -> None:
    with pytest.raises(MissingRecordsError, match="pointwise"):
        tm.compile("v1", target="x86-64-v3", records=False, require_records=True)
