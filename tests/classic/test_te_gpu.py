"""TE schedules for GPUs: every one on a real OpenCL device, PoCL, against the reference."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from gpu.opencl import opencl_context, run_source
from kernels import check_kernel
from schedule_cases import OPERATORS, works
from tvm_mobilenet.schedules.knobs import Knobs, SeededKnobs

import tvm_mobilenet as tm
from tvm_mobilenet.artifact.launches import DeviceCode
from tvm_mobilenet.emit.relay.device_code import parting
from tvm_mobilenet.emit.relay.kernels import scheduled
from tvm_mobilenet.errors import TuningError
from tvm_mobilenet.machine import TargetSpec, parse
from tvm_mobilenet.models.layers import Softmax
from tvm_mobilenet.operators.sizes import workload_of_layer
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.runtime.artifact import read_manifest

TARGET = parse("opencl")


def code_of(cases: Sequence[tuple[Workload, Knobs]], target: TargetSpec) -> DeviceCode:
    functions: dict[Any, Any] = {}
    with parting() as parted:
        for work, knobs in cases:
            s, tensors = scheduled(work, target, knobs)
            functions |= dict(tvm.lower(s, tensors, name=work.key).functions.items())
        tvm.build(tvm.IRModule(functions), target=tvm.target.Target(target.tvm_dict()))
    return parted.code([work.key for work, _ in cases])


def check(cases: Sequence[Workload], knobs: Callable[[int], Knobs], target: TargetSpec) -> None:
    opencl_context()
    answered = [knobs(number) for number in range(len(cases))]
    code = code_of(list(zip(cases, answered, strict=True)), target)
    for number, work in enumerate(cases):
        launches = code.kernels[work.key]
        for launch in launches:
            assert launch.threads <= target.the_gpu.block_threads
            assert launch.shared_bytes <= target.the_gpu.unit_shared

        def run(*tensors: Any, work: Workload = work) -> None:
            *inputs, output = (tensor.numpy() for tensor in tensors)
            made = run_source(
                code.source, code.kernels[work.key], code.scratch[work.key], inputs, output
            )
            tensors[-1].copyfrom(made)

        check_kernel(work, run, number, answered[number].chosen)


@pytest.mark.parametrize("operator", OPERATORS)
def test_right_by_its_rule(operator: str) -> None:
    check(works(TARGET.lanes)[operator], lambda _: Knobs(), TARGET)


@pytest.mark.parametrize("operator", ["pointwise", "depthwise", "conv", "dense"])
def test_right_with_any_knobs(operator: str) -> None:
    cases = works(TARGET.lanes)[operator][1::3]
    seeds = [random.Random(f"{operator} {i}").getrandbits(32) for i in range(len(cases))]
    check(cases, lambda number: SeededKnobs(seeds[number]), TARGET)


@pytest.mark.parametrize(("classes", "kernels"), [(10, 1), (1001, 1), (9000, 7)])
def test_softmax_is_right_whether_its_powers_fit_or_not(classes: int, kernels: int) -> None:
    work = workload_of_layer(Softmax("s", ("input",), (2, classes)), TARGET)
    assert work is not None
    code = code_of([(work, Knobs())], TARGET)
    assert len(code.kernels[work.key]) == kernels
    x = np.random.default_rng(classes).normal(0, 4, (2, classes)).astype(np.float32)
    got = run_source(
        code.source, code.kernels[work.key], code.scratch[work.key], [x], np.empty_like(x)
    )
    powers = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    np.testing.assert_allclose(got, powers / powers.sum(1, keepdims=True), rtol=2e-6, atol=1e-30)


def test_right_where_shared_memory_is_not_worth_it() -> None:
    target = parse("opencl-mali")
    cases = works(target.lanes)
    check([cases["pointwise"][6], cases["conv"][1]], lambda _: Knobs(), target)
    code = code_of([(cases["conv"][1], Knobs())], target)
    assert "__local" not in code.source


def test_vectors_of_16_bytes_and_shared_memory_are_in_the_source() -> None:
    cases = works(TARGET.lanes)
    chosen = [cases["pointwise"][8], cases["depthwise"][3]]
    source = code_of([(work, Knobs()) for work in chosen], TARGET).source
    assert "LOAD_float4(" in source
    assert "STORE_float4(" in source
    assert "__local float" in source
    assert "reqd_work_group_size(4, 16, 4)" in source


def test_metal_is_generated() -> None:
    target = parse("metal")
    cases = [work for name in OPERATORS for work in works(target.lanes)[name][:2]]
    code = code_of([(work, Knobs()) for work in cases], target)
    assert code.source.count("kernel void ") == len(cases) == len(code.kernels)


def test_a_network_is_source_weights_and_launches(tmp_path: Path) -> None:
    opencl_context()
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10, batch=2)
    path = tm.compile(model, target="opencl").export(tmp_path / "v1.so")
    manifest = read_manifest(path)
    assert manifest["stack"] == "launches"
    assert manifest["tvm"].startswith("0.19")
    assert manifest["verification"]["relative"] < 1e-5
    schedules = {call["schedule"] for call in manifest["calls"]}
    assert schedules == {
        *("te.conv", "te.depthwise", "te.pointwise", "te.pool", "te.dense", "te.softmax")
    }
    module = tm.load(path)
    x = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    first, second = module(x), module(2 * x)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(module(x), first)


def test_tuning_for_a_gpu_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="tunes for processors, not for opencl"):
        tm.tune("v1", target="opencl", trials=1, log_dir=tmp_path)


def test_operators_of_relays_own_run_between_ours(tmp_path: Path) -> None:
    from onnx_nets import Net

    opencl_context()
    net = Net((1, 3, 16, 16))
    value = net.op("Softsign", net.conv("image", 12, 3, bias=True, strides=[2, 2]))
    value = net.op("MaxPool", net.conv(value, 20, 1), kernel_shape=[2, 2], strides=[2, 2])
    path = net.save(tmp_path / "net.onnx", net.op("Flatten", net.op("GlobalAveragePool", value)))
    compiled = tm.compile(path, target="opencl")
    assert compiled.manifest["verification"]["relative"] < 1e-5
    assert {call["source"] for call in compiled.manifest["calls"]} == {"rule", "fallback"}
