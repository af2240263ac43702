"""Linear and cubic Resize on blocks: ONNX's numbers, in every mode, at every scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels import check_kernel, compiled, use_threads
from onnx import TensorProto, helper, numpy_helper

from tvm_mobilenet.machine import PRESETS, TargetSpec, host_cpu_features, host_machine
from tvm_mobilenet.models import reference
from tvm_mobilenet.models.operator import Operator
from tvm_mobilenet.models.resized import Resized, resized_of
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.operators.sizes import workload_of_layer

COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric",
               "half_pixel_symmetric", "tf_half_pixel_for_nn")  # fmt: skip
SHAPE = (2, 20, 5, 7)


def here(name: str) -> TargetSpec:
    spec = PRESETS[name]
    if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
        pytest.skip(f"this processor cannot run code for {name}")
    return spec


def operator(scales: tuple[float, float], shape: tuple[int, ...] = SHAPE, **attrs: Any) -> Operator:
    """A node that resizes rows and columns."""
    single = [np.float32(scale) for scale in scales]
    size = [int(np.floor(np.float32(n) * s)) for n, s in zip(shape[2:], single, strict=True)]
    node = helper.make_node("Resize", ["x0", "", "w0"], ["y0"], **{"mode": "linear", **attrs})
    out = (*shape[:2], *size)
    graph = helper.make_graph(
        [node], "alone", [helper.make_tensor_value_info("x0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y0", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(np.array([1, 1, *single], np.float32), "w0")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    return Operator(
        "a", (INPUT,), shape, "Resize", (), ("float32", "float32"), out, (), 0,
        model.SerializeToString(),
    )  # fmt: skip


CASES = {
    **{
        f"{how} {scales}": operator(scales, coordinate_transformation_mode=how)
        for how in COORDINATES
        for scales in ((2.0, 2.0), (1.4, 0.65))
    },
    "cubic": operator((2.0, 1.45), mode="cubic", cubic_coeff_a=-0.5),
    "cubic inside": operator((1.4, 0.7), mode="cubic", exclude_outside=1),
    "antialias": operator((0.45, 0.3), antialias=1),
    "rows alone": operator((3.0, 1.0)),
    "one channel": operator((2.0, 3.0), shape=(1, 1, 4, 4)),
    "many": operator((2.0, 2.0), shape=(1, 64, 9, 9)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_reference_is_onnx_s(case: str) -> None:
    layer = CASES[case]
    resized = resized_of(layer)
    assert isinstance(resized, Resized)
    x = np.random.default_rng(0).standard_normal(layer.in_shape)
    want = layer.run({}, x)
    np.testing.assert_allclose(reference.run_layer(resized, {}, x), want, 1e-6, 1e-6)


@pytest.mark.parametrize("name", ["x86-64-v3", "x86-64-v4"])
def test_kernels(name: str) -> None:
    spec = here(name)
    works = {case: workload_of_layer(layer, spec) for case, layer in CASES.items()}
    assert {work.operator for work in works.values() if work} == {"resize"}
    kernels = compiled([work for work in works.values() if work], spec).jit()
    use_threads(2)
    for case, work in works.items():
        assert work is not None
        check_kernel(work, kernels[work.key], note=case)


def test_what_stays_tvms_own() -> None:
    """A region of the map, and filters of more pixels than loops are written for."""
    assert resized_of(operator((2, 2), coordinate_transformation_mode="tf_crop_and_resize")) is None
    assert resized_of(operator((2, 2), mode="nearest")) is None
    wide = operator((0.05, 1.0), shape=(1, 8, 200, 4), antialias=1)
    assert resized_of(wide) is not None
    assert workload_of_layer(wide, PRESETS["x86-64-v3"]) is None
