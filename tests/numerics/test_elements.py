"""Two maps element by element, of all the shapes that one may have beside the other."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from kernels import check_kernel, compiled, use_threads
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from tvm_mobilenet.schedules.plans import PLANS

import tvm_mobilenet as tm
from tvm_mobilenet.machine import PRESETS, TargetSpec, host_cpu_features, host_machine
from tvm_mobilenet.models.elements import ELEMENTWISE, ORDERED, Elementwise
from tvm_mobilenet.models.importer import import_onnx
from tvm_mobilenet.models.spec import INPUT, Activate, Conv2d, Model
from tvm_mobilenet.network.plan import Call
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.network.units import units_of
from tvm_mobilenet.operators.facts import OTHER
from tvm_mobilenet.operators.sizes import workload_of_layer


def here(name: str) -> TargetSpec:
    spec = PRESETS[name]
    if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
        pytest.skip(f"this processor cannot run code for {name}")
    return spec


WHOLE = (2, 20, 5, 7)
OTHERS = [WHOLE, (1, 20, 5, 7), (2, 20, 1, 1), (1, 20, 1, 1), (2, 1, 5, 7), (1, 1, 1, 1)]


@pytest.mark.parametrize("name", ["x86-64-v3", "x86-64-v4"])
def test_kernels(name: str) -> None:
    spec = here(name)
    pairs = [(WHOLE, other) for other in OTHERS] + [(other, WHOLE) for other in OTHERS[1:]]
    pairs += [((1, 64, 9, 9), (1, 64, 9, 9)), ((1, 1, 9, 9), (1, 1, 9, 9))]
    works = [
        workload_of_layer(Elementwise("a", (INPUT, OTHER), one, operator, other, swapped), spec)
        for one, other in pairs
        for operator in ELEMENTWISE
        for swapped in (False, operator in ORDERED)
    ]
    works += [
        workload_of_layer(
            Elementwise("a", (INPUT,), WHOLE, operator, (1, 1, 1, 1), swapped, 0.375), spec
        )
        for operator in ELEMENTWISE
        for swapped in (False, operator in ORDERED)
    ]
    found = {work.key: work for work in works if work is not None}
    assert len(found) == 9 * (len(pairs) + 1)
    activated = {"relu6", "silu"}
    ends = [
        dataclasses.replace(work, activation=end)
        for work, end in zip(found.values(), itertools.cycle(activated), strict=False)
    ]
    found |= {work.key: work for work in ends}
    alone = workload_of_layer(Activate("a", (INPUT,), WHOLE, "mish"), spec)
    assert alone is not None
    found[alone.key] = alone
    kernels = compiled([*found.values()], spec).jit()
    use_threads(2)
    for key, work in found.items():
        check_kernel(work, kernels[key])


def _net(path: Path) -> onnx.ModelProto:
    """Sums, gates and activations that no convolution can take."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((20, 3, 1, 1)) / 2, "v": rng.standard_normal((20, 20, 1, 1)) / 4,
        "two": 2.0, "half": 0.5, "slope": rng.uniform(0.1, 0.3, (20, 1, 1)),
        "each": rng.standard_normal((1, 20, 1, 1)),
    }  # fmt: skip
    nodes = [
        ("Conv", "image w", "a"), ("Conv", "a v", "b"), ("Add", "a b", "c"), ("Relu", "c", "d"),
        ("Add", "c d", "e"), ("HardSwish", "e", "f"), ("Mul", "f e", "g"),
        ("PRelu", "g slope", "h"),
        ("Max", "h half", "i"), ("Div", "two i", "j"), ("Min", "j e", "k"), ("Sub", "half k", "l"),
        ("Div", "l two", "m"), ("Max", "each m", "y"),
    ]  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node(op, ins.split(), [out]) for op, ins, out in nodes], "elements",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 6, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 20, 6, 5])],
        [numpy_helper.from_array(np.asarray(v, np.float32), n) for n, v in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return model


def test_a_file_of_elements_stays_in_blocks(tmp_path: Path) -> None:
    spec, model = here("x86-64-v3"), _net(tmp_path / "elements.onnx")
    imported = import_onnx(tmp_path / "elements.onnx")
    assert all(isinstance(step, Call) for step in plan_network(imported.model, spec).steps)
    x = np.random.default_rng(1).standard_normal(imported.model.input_shape).astype(np.float32)
    (want,) = ReferenceEvaluator(model).run(None, {"image": x})
    made = tm.compile(imported)  # which verifies every kernel
    np.testing.assert_allclose(made.module(x), want, rtol=1e-4, atol=1e-4)


def test_what_is_made_of_the_image_alone_stays_plain() -> None:
    """A first convolution reads it in no blocks."""
    scaled = Elementwise("a", (INPUT,), (1, 3, 8, 8), "Mul", (1, 1, 1, 1), False, 0.5)
    conv = Conv2d("b", ("a",), (1, 3, 8, 8), 16, (3, 3))
    model = Model("m", "m", {}, (1, 3, 8, 8), (scaled, conv), ("b",))
    units = units_of(model, PRESETS["x86-64-v3"], PLANS)
    assert [unit.name for unit in units] == ["b"]
