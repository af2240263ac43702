"""Elements of maps in blocks, in other places: exactly those, whatever the channels and blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from kernels import check_kernel, compiled, use_threads
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import tvm_mobilenet as tm
from tvm_mobilenet.machine import PRESETS, TargetSpec, host_cpu_features, host_machine
from tvm_mobilenet.models.importer import import_onnx
from tvm_mobilenet.models.moves import Moves, moves_of
from tvm_mobilenet.models.operator import Operator
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.network.plan import Call
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.operators.facts import other_names
from tvm_mobilenet.operators.sizes import workload_of_layer
from tvm_mobilenet.verify.kernel_case import kernel_case

X86 = ["x86-64", "x86-64-v3", "x86-64-v4"]


def here(name: str) -> TargetSpec:
    spec = PRESETS[name]
    if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
        pytest.skip(f"this processor cannot run code for {name}")
    return spec


def moves(
    counts: list[int], channels: list[int], rows: list[int], columns: list[int], *,
    size: tuple[int, int], period: tuple[int, int] = (1, 1), fill: float = 0.0, batch: int = 1,
) -> Moves:  # fmt: skip
    shapes = [(batch, count, *size) for count in counts]
    names = (INPUT, *other_names(len(shapes) - 1))
    tables = tuple(channels), tuple(rows), tuple(columns)
    return Moves("a", names, shapes[0], tuple(shapes[1:]), *tables, period, fill)


def _shuffled(groups: int, count: int) -> list[int]:
    return np.arange(count).reshape(groups, -1).T.ravel().tolist()


def _shapes() -> dict[str, Moves]:
    y, x = [*range(5)], [*range(7)]
    still = {"rows": y, "columns": x, "size": (5, 7)}
    twice = {"rows": np.repeat(y, 2).tolist(), "columns": np.repeat(x, 2).tolist(), "size": (5, 7)}
    around = {"rows": [-1, *y, -1, -1], "columns": [-1, -1, *x, -1], "size": (5, 7)}
    reflected = {"rows": [2, 1, *y, 3], "columns": [1, *x, 5, 4, 3], "size": (5, 7)}
    odd = (np.arange(13) * 7 // 13).tolist()
    return {
        "concat": moves([64, 32], [*range(96)], **still, batch=2),
        "ragged": moves([24, 40], [*range(64)], **still),
        "three": moves([3, 8, 21], [*range(32)], **still, batch=2),
        "single": moves([1, 1, 1], [2, 0, 1], **still),
        "to one": moves([20], [17], **still),
        "slice": moves([64], [*range(10, 61, 3)], **still),
        "shuffle": moves([64], _shuffled(2, 64), **still),
        "thirds": moves([60], _shuffled(3, 60), **still, batch=2),
        "enlarged": moves([20], [*range(20)], **twice),
        "odd": moves([20], [*range(20)], [0, 0, 1, 2, 2, 3, 4], odd, size=(5, 7)),
        "padded": moves([20], [*range(20)], **around, fill=-1.5),
        "channels": moves([20], [-1, -1, *range(20), *[-1] * 15], **around, fill=3.0),
        "zeros": moves([16], [*range(16), *[-1] * 16], **still),
        "reflected": moves([20], [*range(20)], **reflected),
        "apart": moves([48], [*range(48)], **twice, period=(2, 2)),
        "thinned": moves([20], [*range(20)], [0, 2, 4], [1, 3, 5], size=(5, 7)),
    }  # fmt: skip


SHAPES = _shapes()


@pytest.mark.parametrize("name", X86)
def test_elements_are_where_the_reference_has_them(name: str) -> None:
    spec = here(name)
    works = {case: workload_of_layer(layer, spec) for case, layer in SHAPES.items()}
    assert all(work is not None for work in works.values())
    kernels = compiled([work for work in works.values() if work], spec).jit()
    use_threads(2)
    for case, work in works.items():
        assert work is not None
        assert not kernel_case(work).bound.any()
        check_kernel(work, kernels[work.key], note=case)


def _file(path: Path) -> onnx.ModelProto:
    """A file in which maps are concatenated, split, shuffled, sliced, padded and enlarged."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((24, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["a"]),
        helper.make_node("Concat", ["a", "image"], ["b"], axis=1),
        helper.make_node("Split", ["b", "halves"], ["c", "d"], axis=1),
        helper.make_node("Resize", ["d", "", "scales"], ["e"], mode="nearest"),
        helper.make_node("Pad", ["c", "pads", "fill"], ["f"]),
        helper.make_node("Slice", ["f", "starts", "ends", "axes"], ["g"]),
        helper.make_node("DepthToSpace", ["g"], ["h"], blocksize=2, mode="CRD"),
        helper.make_node("Concat", ["h", "e"], ["i"], axis=1),
        helper.make_node("Reshape", ["i", "apart"], ["j"]),
        helper.make_node("Transpose", ["j"], ["k"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["k", "together"], ["y"]),
    ]
    constants = {
        "weight": weight, "halves": np.array([15, 12]), "pads": np.array([0, 0, 1, 0, 0, 2, 2, 1]),
        "scales": np.array([1, 1, 2, 2], np.float32), "fill": np.array(0.5, np.float32),
        "starts": np.array([1, 1, 1]), "ends": np.array([17, 6, 6]), "axes": np.array([1, 2, 3]),
        "apart": np.array([1, 2, 8, 10, 10]), "together": np.array([1, 16, 10, 10]),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes, "moves",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 5, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16, 10, 10])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return model


def test_a_file_that_moves_much_stays_in_blocks(tmp_path: Path) -> None:
    model = _file(tmp_path / "moves.onnx")
    spec = here("x86-64-v3")
    imported = import_onnx(tmp_path / "moves.onnx")
    plan = plan_network(imported.model, spec)
    assert all(isinstance(step, Call) for step in plan.steps)
    assert len(plan.steps) == len(imported.model.layers) - 2  # a shuffle is one kernel
    made = tm.compile(imported)  # which verifies every kernel
    x = np.random.default_rng(1).standard_normal(imported.model.input_shape).astype(np.float32)
    (want,) = ReferenceEvaluator(model).run(None, {"image": x})
    np.testing.assert_allclose(made.module(x), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("operator", "attributes", "constants", "ours"),
    [
        ("Resize", {"mode": "linear"}, {"": None, "s": np.array([1, 1, 2, 2], np.float32)}, False),
        ("Transpose", {"perm": [0, 1, 3, 2]}, {}, False),
        ("Transpose", {"perm": [0, 1, 2, 3]}, {}, True),
        ("SpaceToDepth", {"blocksize": 2}, {}, False),
        ("Pad", {"mode": "edge"}, {"p": np.array([0, 0, 1, 0, 0, 0, 0, 2])}, True),
        ("Reshape", {}, {"r": np.array([1, 6, 16, 1])}, False),
    ],
)
def test_which_nodes_only_move(
    operator: str, attributes: dict[str, Any], constants: dict[str, Any], ours: bool
) -> None:
    node = helper.make_node(operator, ["x0", *constants], ["y0"], **attributes)
    shape = (1, 6, 4, 4)
    given = [numpy_helper.from_array(v, n) for n, v in constants.items() if v is not None]
    graph = helper.make_graph(
        [node], "alone", [helper.make_tensor_value_info("x0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y0", TensorProto.FLOAT, None)], given,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    inferred = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape
    out = tuple(one.dim_value for one in inferred.dim)
    layer = Operator(
        "a", (INPUT,), shape, operator, (), ("float32", "float32"), out, (), 0,
        model.SerializeToString(),
    )  # fmt: skip
    assert (moves_of(layer) is not None) == ours
