"""Convolutions of every kind by GPU schedules of ours, on an OpenCL device and as CUDA's source."""

from __future__ import annotations

import dataclasses
from typing import Any

import cuda_on_cpu
import numpy as np
import pytest
from convolutions import LAYERS, conv, workloads
from opencl import run_source
from tvm_mobilenet.schedules.knobs import Knobs, SeededKnobs
from tvm_mobilenet.schedules.tensorir.rules import schedule

from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.emit.relax.device_code import device_code
from tvm_mobilenet.machine import TargetSpec, parse
from tvm_mobilenet.operators.sizes import workload_of_layer
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.verify.kernel_case import kernel_case


def works(target: TargetSpec) -> list[Workload]:
    """Every kind, and one with a residual connection."""
    layer = conv((24, 40), (9, 7), (3, 3), padding=(1, 1, 1, 1), activation="silu")
    added = workload_of_layer(layer, target)
    assert added is not None
    return [*workloads(target).values(), dataclasses.replace(added, residual=True)]


def check(
    cases: list[Workload], target: TargetSpec, knobs: list[Knobs], run: Any = run_source
) -> None:
    functions = {}
    for number, (work, answers) in enumerate(zip(cases, knobs, strict=True)):
        done = schedule(prim_func(work), target, answers)
        assert done is not None
        assert done.schedule == f"gpu.{work.operator}"
        functions[f"k{number}"] = done.func
    code = device_code(functions, target)
    for number, work in enumerate(cases):
        name, case = f"k{number}", kernel_case(work, number)
        out = np.empty(case.want.shape, work.dtype)
        case.error(run(code.source, code.kernels[name], code.scratch[name], case.inputs, out))


def test_right_on_a_device() -> None:
    target = parse("opencl")
    cases = works(target)
    assert len(cases) == len(LAYERS) + 1
    check(cases, target, [Knobs() for _ in cases])


def test_right_on_a_device_whatever_the_knobs() -> None:
    target = parse("opencl")
    cases = works(target)[::2]
    check(cases, target, [SeededKnobs(number) for number in range(len(cases))])


def test_float16_and_any_knobs() -> None:
    """CUDA's source on the processor."""
    target = parse("sm_80", dtype="float16")
    cases = works(target)[1::3]
    check(cases, target, [SeededKnobs(n) for n in range(len(cases))], cuda_on_cpu.run_source)


@pytest.mark.parametrize(("name", "dtype"), [("metal", "float16"), ("opencl-mali", "float32")])
def test_other_languages_are_generated(name: str, dtype: Any) -> None:
    target = parse(name, dtype=dtype)
    functions = {}
    for work in works(target):
        done = schedule(prim_func(work), target, Knobs())
        assert done is not None
        functions[work.key] = done.func
    code = device_code(functions, target)
    assert {len(launches) for launches in code.kernels.values()} == {1}
