"""Rows over their norms: ordinary ones, and those whose squares no float32 holds."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import tvm
from kernels import compiled, use_threads
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_nets import Net

import tvm_mobilenet as tm
from tvm_mobilenet.errors import VerificationError
from tvm_mobilenet.machine import PRESETS, TargetSpec, host_cpu_features, host_machine
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.importer import import_onnx
from tvm_mobilenet.models.layers import LpNormalization
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.operators.sizes import workload_of_layer
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.verify.kernel_case import kernel_case

X86 = ["x86-64", "x86-64-v3", "x86-64-v4"]
SHAPES = [(1, 1), (3, 2), (1, 7), (2, 16), (2, 17), (5, 100), (1, 512), (70, 513)]
INF, NAN = float("inf"), float("nan")
Floats = NDArray[np.float32]


def here(name: str) -> TargetSpec:
    spec = PRESETS[name]
    if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
        pytest.skip(f"this processor cannot run code for {name}")
    return spec


def layer(shape: tuple[int, ...], least: float = 0.0) -> LpNormalization:
    return LpNormalization("norm", (INPUT,), shape, least)


def work_of(shape: tuple[int, int], spec: TargetSpec, least: float = 0.0) -> Workload:
    work = workload_of_layer(layer(shape, least), spec)
    assert work is not None
    return work


def normalized(kernel: object, x: Floats) -> Floats:
    out = tvm.runtime.tensor(np.full(x.shape, 7, np.float32))
    kernel(tvm.runtime.tensor(x), out)  # type: ignore[operator]
    return np.asarray(out.numpy())


@pytest.mark.parametrize("name", X86)
def test_rows(name: str) -> None:
    spec = here(name)
    works = [work_of(shape, spec) for shape in SHAPES]
    kernels = compiled(works, spec).jit()
    use_threads(2)
    for work in works:
        case = kernel_case(work, seed=1)
        got = normalized(kernels[work.key], case.inputs[0])
        assert case.error(got) < 1e-6
        got[-1, -1] += 2 * case.bound[-1, -1] + 1e-6 * abs(got[-1, -1])
        with pytest.raises(VerificationError, match="1 of"):
            case.error(got)


@pytest.mark.parametrize(
    "row",
    [
        [0.0, 0.0, 0.0],
        [0.0, -2.0, 0.0],
        [1e30, -1e30, 1.0],
        [3.4e38, -3.4e38, 3.4e38],
        [1e-30, -1e-30, 2e-31],
        [0.0, 1e-38, -1e-38],
        [INF, 0.0, 1.0],
        [-INF, 3.0, INF],
        [NAN, 0.0, 1.0],
        [NAN, INF, 0.0],
    ],
)
@pytest.mark.parametrize("name", X86)
def test_rows_that_are_not_ordinary(name: str, row: list[float]) -> None:
    """They give what their definition gives, and leave the row beside them alone."""
    spec = here(name)
    works = [work_of((2, channels), spec) for channels in (3, 16, 19)]
    kernels = compiled(works, spec).jit()
    for work in works:
        x = np.full((2, work.in_channels), row[1], np.float32)
        x[0, 0], x[0, -1] = row[0], row[2]
        x[1] = np.arange(work.in_channels)
        want = reference.run_layer(layer(x.shape), {}, x)
        np.testing.assert_allclose(normalized(kernels[work.key], x), want, rtol=1e-6, atol=1e-38)


@pytest.mark.parametrize("name", X86)
def test_a_norm_below_the_least_is_not_divided_by(name: str) -> None:
    spec = here(name)
    least = 1e-12
    works = [work_of((7, channels), spec, least) for channels in (3, 16, 19)]
    kernels = compiled(works, spec).jit()
    for work in works:
        x = np.ones((7, work.in_channels), np.float32)
        x[:, 0] *= [0.0, 1e-13, 1e-12, 1e-38, 1e38, INF, NAN]
        x[:4, 1:] = 0
        x[1, -1] = 1e-13
        want = reference.run_layer(layer(x.shape, least), {}, x)
        assert want[1, 0] == pytest.approx(0.1)
        np.testing.assert_allclose(normalized(kernels[work.key], x), want, rtol=1e-6, atol=1e-38)


@pytest.mark.parametrize(
    ("floor", "axis", "ours"),
    [
        ("Clip", -1, True),
        ("Max", 2, True),
        ("Clip", 1, False),
        ("none", -1, False),
        ("both", -1, False),
        ("zero", -1, False),
        ("other", -1, False),
    ],
)
def test_tensors_over_their_norms_are_found(
    floor: str, axis: int, ours: bool, tmp_path: Path
) -> None:
    """Only what no row of zeros makes NaN, and along the last axis."""
    net = Net((1, 3, 4, 5), opset=13)
    x = net.op("Reshape", net.conv("image", 6), net.const((2, 3, 20), np.int64))
    least, most = net.const(0 if floor == "zero" else 1e-6), net.const(9)
    source = net.op("Neg", x) if floor == "other" else x
    divisor = net.op("ReduceL2", source, axes=[axis], keepdims=1)
    if floor == "Max":
        divisor = net.op("Max", least, divisor)
    elif floor != "none":
        divisor = net.op("Clip", divisor, least, *([most] if floor == "both" else []))
    path = net.save(tmp_path / "net.onnx", net.op("Div", x, divisor))
    found = [one for one in import_onnx(path).model.layers if isinstance(one, LpNormalization)]
    assert [one.least for one in found] == ([pytest.approx(1e-6)] if ours else [])
    assert all(one.in_shape == (6, 20) for one in found)


def test_the_reference_is_onnx_s() -> None:
    node = helper.make_node("LpNormalization", ["x"], ["y"], axis=-1, p=2)
    x = np.random.default_rng(0).standard_normal((4, 33))
    x[2] = 0
    info = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, x.shape) for name in "xy"]
    model = helper.make_model(
        helper.make_graph([node], "norm", info[:1], info[1:]),
        opset_imports=[helper.make_opsetid("", 22)],
    )
    with np.errstate(invalid="ignore"):  # it divides 0 by 0, and takes 0 for that
        (want,) = ReferenceEvaluator(model).run(None, {"x": x})
    got = reference.run_layer(layer(x.shape), {}, x)
    np.testing.assert_allclose(got, want, rtol=1e-14)
    assert not got[2].any()


@pytest.mark.parametrize(
    ("attributes", "flat", "ours"),
    [
        ({}, True, True),
        ({"axis": 1, "p": 2}, True, True),
        ({"axis": 1, "p": 1}, True, False),
        ({"axis": 0, "p": 2}, True, False),
        ({"axis": 1, "p": 2}, False, False),
    ],
)
def test_which_nodes_of_a_file_are_ours(
    attributes: dict[str, int], flat: bool, ours: bool, tmp_path: Path
) -> None:
    nodes = [helper.make_node("Relu", ["image"], ["a"])]
    if flat:
        nodes.append(helper.make_node("Flatten", ["a"], ["b"]))
    nodes.append(helper.make_node("LpNormalization", [nodes[-1].output[0]], ["y"], **attributes))
    shape = [1, 3, 4, 5]
    graph = helper.make_graph(
        nodes, "face",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 60] if flat else shape)],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "face.onnx")
    model = import_onnx(tmp_path / "face.onnx").model
    found = [type(one) for one in model.layers].count(LpNormalization)
    assert found == int(ours)


def test_explain_and_compile_know_a_network_that_ends_in_it(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["a"]),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "weight"], ["c"], transB=1),
        helper.make_node("LpNormalization", ["c"], ["face"], axis=1),
    ]
    weight = np.random.default_rng(0).standard_normal((21, 5)).astype(np.float32)
    graph = helper.make_graph(
        nodes, "face",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [2, 5, 9, 7])],
        [helper.make_tensor_value_info("face", TensorProto.FLOAT, [2, 21])],
        [numpy_helper.from_array(weight, "weight")],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    path = tmp_path / "face.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    told = [kernel.operator for step in tm.explain(path).steps for kernel in step.kernels]
    assert told == ["pool", "dense", "lp_normalization"]
    compiled_network = tm.compile(path)  # which verifies every layer
    calls = [call["operator"] for call in compiled_network.manifest["calls"]]
    assert calls[-3:] == told  # a change of layout before them is TVM's


@pytest.mark.parametrize("name", ["rpi4", "rpi2", "riscv64"])
def test_other_machines_call_no_library_for_it(name: str) -> None:
    work = work_of((1, 512), PRESETS[name])
    assembly = compiled([work], PRESETS[name]).mod.inspect_source("asm")
    assert f"__tvm_ffi_{work.key}:" in assembly
    assert "sqrtf" not in assembly
    assert "TVMBackendParallelLaunch" not in assembly


@pytest.mark.parametrize("least", [0.0, 3.0])
def test_an_error_before_it_is_bounded_behind_it(least: float) -> None:
    """Twice the embedding, turned a little: the bound holds for what that does to the row."""
    from tvm_mobilenet.models.layers import Dense
    from tvm_mobilenet.verify.bound import guaranteed_bound

    rng = np.random.default_rng(0)
    dense = Dense("d", (INPUT,), (3, 8), 16, bias=False)
    norm = LpNormalization("norm", ("d",), (3, 16), least)
    weights = {"d.weight": rng.standard_normal((16, 8)).astype(np.float32)}
    x = rng.standard_normal((3, 8)).astype(np.float32)
    product = reference.run_layer(dense, weights, x)
    values = {INPUT: x, "d": product, "norm": reference.run_layer(norm, {}, product)}
    bound = guaranteed_bound((dense, norm), weights, values)
    before = guaranteed_bound((dense,), weights, values)
    assert bound is not None
    assert before is not None
    for seed in range(20):
        moved = product + before * np.random.default_rng(seed).choice([-1, 1], product.shape)
        off = np.abs(reference.run_layer(norm, {}, moved) - values["norm"])
        assert (off <= bound).all()
    assert bound.max() < 100 * math.ulp(1.0) * 2**29
