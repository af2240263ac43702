"""PReLU of one slope a channel: part of the convolution before it, however a file spells it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from convolutions import workloads
from kernels import check_kernel, compiled, fused_pair, use_threads, workload
from onnx_nets import Net
from schedule_cases import AROUND

import tvm_mobilenet as tm
from tvm_mobilenet.common.functions import PRELU
from tvm_mobilenet.machine import PRESETS, TargetSpec, host_cpu_features, host_machine, parse
from tvm_mobilenet.network.plan import Call
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.operators.workload import Workload

SLOPES = np.array([0.25, -0.5, 0.0, 1.5, 0.1, 0.2, 0.3, 0.4, 0.01, 2.0, 0.7], np.float32)


def here(name: str) -> TargetSpec:
    spec = PRESETS[name]
    if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
        pytest.skip(f"this processor cannot run code for {name}")
    return spec


def _works(spec: TargetSpec) -> list[Workload]:
    lanes = spec.lanes
    filters = workload("depthwise", (32, 32), (9, 9), lanes, kernel=3, padding=AROUND)
    pair = fused_pair(dataclasses.replace(filters, activation=PRELU), 48, lanes)
    found = [
        workload("conv", (3, 24), (9, 9), lanes, kernel=3, stride=2, padding=AROUND),
        workload("conv_nhwc", (3, 11), (9, 9), lanes, kernel=3, padding=AROUND),
        workload("pointwise", (12, 19), (5, 5), lanes, batch=2),
        workload("pointwise", (16, 24), (4, 5), lanes, residual=True),
        workload("depthwise", (20, 20), (9, 9), lanes, kernel=3, stride=2, padding=AROUND),
        filters,
        dataclasses.replace(
            workload("pointwise", (32, 48), (3, 3), lanes, batch=2),
            operator="tail", classes=20, class_block=2 * lanes,
        ),
    ]  # fmt: skip
    cases = workloads(spec)
    found += [cases[name] for name in ("groups across blocks", "depthwise transposed, 3 x 3")]
    return [dataclasses.replace(work, activation=PRELU) for work in [*found, pair]] + [pair]


@pytest.mark.parametrize("name", ["x86-64-v3", "x86-64-v4"])
def test_kernels(name: str) -> None:
    spec = here(name)
    works = {work.key: work for work in _works(spec)}
    assert len(works) == 11
    kernels = compiled([*works.values()], spec).jit()
    use_threads(2)
    for key, work in works.items():
        check_kernel(work, kernels[key])


def _each(n: Net, values: np.ndarray) -> str:
    return n.const(values.reshape(1, -1, 1, 1).astype(np.float32))


def _by_relu(n: Net, x: str) -> str:
    return n.op("Sub", n.op("Relu", x), n.op("Mul", _each(n, SLOPES), n.op("Relu", n.op("Neg", x))))


def _by_abs(n: Net, x: str) -> str:
    both = n.op("Mul", n.op("Sub", x, n.op("Abs", x)), _each(n, SLOPES / 2))
    return n.op("Add", n.op("Relu", x), both)


def _by_extremes(n: Net, x: str) -> str:
    zero = n.const(0.0)
    below = n.op("Mul", n.op("Min", x, zero), _each(n, SLOPES))
    return n.op("Add", n.op("Max", x, zero), below)


SPELLINGS: dict[str, Callable[[Net, str], str]] = {
    "PRelu": lambda n, x: n.op("PRelu", x, n.const(SLOPES.reshape(-1, 1, 1))),
    "Relu, Neg": _by_relu,
    "Abs": _by_abs,
    "Min, Max": _by_extremes,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_a_file_spells_is_part_of_the_convolution(spelling: str, tmp_path: Path) -> None:
    net = Net()
    path = net.save(tmp_path / "net.onnx", SPELLINGS[spelling](net, net.conv("image", 11, 3)))
    plan = plan_network(tm.import_onnx(path).model, parse("native"))
    (call,) = plan.steps
    assert isinstance(call, Call)
    assert call.work.activation == PRELU


def test_what_reads_the_sums_too_keeps_them_apart(tmp_path: Path) -> None:
    net = Net()
    sums = net.conv("image", 11, 3)
    path = net.save(tmp_path / "net.onnx", net.op("Add", _by_relu(net, sums), sums))
    imported = tm.import_onnx(path)
    operators = [call.work.operator for call in plan_network(imported.model, parse("native")).calls]
    tm.compile(imported)  # which verifies every kernel
    assert operators == ["conv", "elements", "elements"]
