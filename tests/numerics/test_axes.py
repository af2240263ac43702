"""Images and maps whose channels lie last: read and written as they are, in no copy beside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from kernels import check_kernel, compiled, use_threads
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import tvm_mobilenet as tm
from tvm_mobilenet.machine import PRESETS, TargetSpec, host_cpu_features, host_machine, parse
from tvm_mobilenet.models.axes import CHANNELS_FIRST, CHANNELS_LAST, Turned
from tvm_mobilenet.models.importer import import_onnx
from tvm_mobilenet.models.spec import INPUT, Conv2d
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.sizes import workload_of_layer
from tvm_mobilenet.operators.workload import Workload

X86 = ["x86-64", "x86-64-v3", "x86-64-v4"]


def here(name: str) -> TargetSpec:
    spec = PRESETS[name]
    if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
        pytest.skip(f"this processor cannot run code for {name}")
    return spec


def _works(spec: TargetSpec) -> list[Workload]:
    found = []
    for n, c, h, w in ((1, 64, 9, 7), (2, 21, 4, 5), (1, 3, 5, 5), (3, 40, 1, 3), (1, 1, 6, 6)):
        found.append(workload_of_layer(Turned("a", (INPUT,), (n, c, h, w), CHANNELS_LAST), spec))
        if c > 7:
            turned = Turned("a", (INPUT,), (n, h, w, c), CHANNELS_FIRST)
            found.append(workload_of_layer(turned, spec))
    for n, c, size, out, kernel, stride, padding in (
        (1, 3, (21, 17), 24, (3, 3), (2, 2), (0, 0, 1, 1)),
        (2, 1, (9, 30), 8, (5, 3), (1, 2), (2, 1, 2, 1)),
        (1, 4, (16, 16), 33, (7, 7), (2, 2), (3, 3, 3, 3)),
    ):
        turned = Turned("a", (INPUT,), (n, *size, c), CHANNELS_FIRST)
        conv = Conv2d("b", ("a",), (n, c, *size), out, kernel, stride, padding, activation="silu")
        found.append(OPERATORS["conv_nhwc"].of_chain((turned, conv), spec))
    return [work for work in found if work is not None]


@pytest.mark.parametrize("name", X86)
def test_kernels(name: str) -> None:
    spec = here(name)
    works = _works(spec)
    assert len(works) == 5 + 3 + 3
    kernels = compiled(works, spec).jit()
    use_threads(2)
    for work in works:
        check_kernel(work, kernels[work.key])


def _nhwc(path: Path) -> onnx.ModelProto:
    """As TensorFlow exports one: the image, and what is returned, with the channels last."""
    rng = np.random.default_rng(0)
    weights = {
        "a": rng.standard_normal((24, 3, 3, 3)) / 4,
        "b": rng.standard_normal((24, 1, 3, 3)) / 3,
        "c": rng.standard_normal((20, 24, 1, 1)) / 4,
    }
    nodes = [
        helper.make_node("Transpose", ["image"], ["t"], perm=CHANNELS_FIRST),
        helper.make_node("Conv", ["t", "a"], ["u"], strides=[2, 2], pads=[0, 0, 1, 1]),
        helper.make_node("Relu", ["u"], ["v"]),
        helper.make_node("Conv", ["v", "b"], ["w"], pads=[1] * 4, group=24),
        helper.make_node("Conv", ["w", "c"], ["x"]),
        helper.make_node("Transpose", ["x"], ["y"], perm=CHANNELS_LAST),
    ]
    graph = helper.make_graph(
        nodes, "nhwc",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 30, 22, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 15, 11, 20])],
        [numpy_helper.from_array(v.astype(np.float32), n) for n, v in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return model


def test_a_file_with_channels_last_moves_nothing(tmp_path: Path) -> None:
    model = _nhwc(tmp_path / "nhwc.onnx")
    imported = import_onnx(tmp_path / "nhwc.onnx")
    operators = [call.work.operator for call in plan_network(imported.model, parse("native")).calls]
    assert operators[0] == "conv_nhwc"
    assert operators[-1] == "to_nhwc"
    made = tm.compile(imported)
    schedules = {call["schedule"] for call in made.manifest["calls"]}
    assert schedules == {"cpu.conv_nhwc", "cpu.depthwise", "cpu.pointwise", "cpu.to_nhwc"}
    x = np.random.default_rng(1).standard_normal((1, 30, 22, 3)).astype(np.float32)
    (want,) = ReferenceEvaluator(model).run(None, {"image": x})
    np.testing.assert_allclose(made.module(x), want, rtol=1e-4, atol=1e-4)
