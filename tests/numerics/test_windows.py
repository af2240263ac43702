"""Pools over windows, of every stride, padding and rounding of sizes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from kernels import check_kernel, compiled, use_threads
from onnx import TensorProto, helper

from tvm_mobilenet.machine import PRESETS, TargetSpec, host_cpu_features, host_machine
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.operator import Operator
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.models.windows import Window, window_of
from tvm_mobilenet.operators.sizes import workload_of_layer

X86 = ["x86-64-v3", "x86-64-v4"]


def here(name: str) -> TargetSpec:
    spec = PRESETS[name]
    if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
        pytest.skip(f"this processor cannot run code for {name}")
    return spec


KINDS: list[tuple[str, dict[str, int]]] = [
    ("MaxPool", {}),
    ("AveragePool", {}),
    ("AveragePool", {"count_include_pad": 1}),
]
FORMS: list[tuple[tuple[int, ...], dict[str, object]]] = [
    ((1, 24, 9, 11), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((2, 40, 8, 8), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ((1, 3, 7, 6), {"kernel_shape": [3, 2], "strides": [1, 2], "pads": [0, 1, 2, 0]}),
    ((1, 16, 14, 14), {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2]}),
    ((2, 20, 10, 9), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ((1, 17, 7, 7), {"kernel_shape": [3, 3], "strides": [2, 3], "pads": [1, 0, 1, 2],
                      "ceil_mode": 1}),
    ((1, 1, 5, 5), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
]  # fmt: skip


def pools() -> list[tuple[Operator, str]]:
    """One of each form and kind, means with and without the padding."""
    found = []
    for shape, attributes in FORMS:
        for kind, more in KINDS:
            node = helper.make_node(kind, ["x0"], ["y0"], **attributes, **more)
            graph = helper.make_graph(
                [node], "pool", [helper.make_tensor_value_info("x0", TensorProto.FLOAT, shape)],
                [helper.make_tensor_value_info("y0", TensorProto.FLOAT, None)],
            )  # fmt: skip
            opset = [helper.make_opsetid("", 19)]
            model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opset))
            out = model.graph.output[0].type.tensor_type.shape.dim
            layer = Operator(
                "a", (INPUT,), shape, kind, (), ("float32", "float32"),
                tuple(one.dim_value for one in out), (), 0, model.SerializeToString(),
            )  # fmt: skip
            found.append((layer, f"{kind} {attributes} {more}"))
    return found


def test_the_reference_is_onnx_s() -> None:
    for layer, form in pools():
        window = window_of(layer)
        assert isinstance(window, Window), form
        x = np.random.default_rng(0).standard_normal(layer.in_shape)
        want = layer.run({}, x)
        np.testing.assert_allclose(reference.run_layer(window, {}, x), want, 1e-12, err_msg=form)


@pytest.mark.parametrize("name", X86)
def test_kernels(name: str) -> None:
    spec = here(name)
    works = {form: workload_of_layer(layer, spec) for layer, form in pools()}
    assert {work.operator for work in works.values() if work} == {"max_pool", "average_pool"}
    kernels = compiled([work for work in works.values() if work], spec).jit()
    use_threads(2)
    for form, work in works.items():
        assert work is not None
        check_kernel(work, kernels[work.key], note=form)
