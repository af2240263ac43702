"""What is made of all pixels of a channel: the largest, and instance normalisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kernels import check_kernel, compiled, use_threads
from onnx_nets import Net

import tvm_mobilenet as tm
from tvm_mobilenet.machine import PRESETS, TargetSpec, host_cpu_features, host_machine, parse
from tvm_mobilenet.models.layer import Layer
from tvm_mobilenet.models.over_pixels import GlobalMax, InstanceNorm
from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.network.plan import Call
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.operators.sizes import workload_of_layer

SHAPES = ((1, 64, 9, 9), (2, 21, 4, 5), (1, 1, 1, 7), (3, 40, 1, 1))


def here(name: str) -> TargetSpec:
    spec = PRESETS[name]
    if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
        pytest.skip(f"this processor cannot run code for {name}")
    return spec


@pytest.mark.parametrize("name", ["x86-64-v3", "x86-64-v4"])
def test_kernels(name: str) -> None:
    spec = here(name)
    layers: list[Layer] = [GlobalMax("a", (INPUT,), shape) for shape in SHAPES]
    layers += [InstanceNorm("a", (INPUT,), shape, 1e-3) for shape in SHAPES]
    works = [workload_of_layer(layer, spec) for layer in layers]
    found = [work for work in works if work is not None]
    assert [work.operator for work in found] == ["global_max"] * 4 + ["instance_norm"] * 4
    kernels = compiled(found, spec).jit()
    use_threads(2)
    for work in found:
        check_kernel(work, kernels[work.key])


def test_a_file_with_them_stays_in_blocks(tmp_path: Path) -> None:
    net = Net()
    x = net.conv("image", 20, 3)
    each = [net.const(net.rng.uniform(0.5, 1.5, 20)), net.const(net.rng.standard_normal(20))]
    normal = net.op("InstanceNormalization", x, *each, epsilon=1e-3)
    gated = net.op("Mul", normal, net.op("GlobalMaxPool", normal))
    net.channels[gated] = 20
    y = net.op("Add", gated, net.op("ReduceMax", gated, net.const([2, -1], np.int64)))
    net.channels[y] = 20
    net.opset = 18
    imported = tm.import_onnx(net.save(tmp_path / "net.onnx", net.conv(y, 8)))
    plan = plan_network(imported.model, parse("native"))
    assert all(isinstance(step, Call) for step in plan.steps)
    assert {"instance_norm", "global_max"} <= {call.work.operator for call in plan.calls}
    tm.compile(imported)  # which verifies every kernel, and the file
