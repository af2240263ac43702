"""Every schedule by its rule, on every x86 family, against the reference.

A processor with AVX-512 runs the code of all of them; on a lesser one, those that it lacks
are skipped. Code for ARM and RISC-V is compiled here, and run under emulation elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels import check_kernel, compiled, use_threads, workload
from schedule_cases import OPERATORS, works

from tvm_mobilenet.machine import PRESETS, TargetSpec, host_cpu_features, host_machine
from tvm_mobilenet.verify.kernel_case import kernel_case

X86 = ["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "znver5"]
# Of rpi4, tests/unit/test_assembly.py compiles every kernel of the networks.
CROSS = ["rpi2", "riscv64"]


def here(name: str) -> TargetSpec:
    """A preset that this machine can run, or a skip."""
    spec = PRESETS[name]
    if host_machine() != spec.machine or not set(spec.needs) <= set(host_cpu_features()):
        pytest.skip(f"this processor cannot run code for {name}")
    return spec


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("target", X86)
def test_right_on_one_and_two_threads(target: str, operator: str) -> None:
    spec = here(target)
    cases = works(spec.lanes)[operator]
    kernels: Any = compiled(cases, spec).jit()
    for number, work in enumerate(cases):
        for threads in (1, 2):
            use_threads(threads)
            check_kernel(work, kernels[work.key], number, threads)


@pytest.mark.parametrize("target", CROSS)
def test_other_machines_code_is_generated(target: str) -> None:
    spec = PRESETS[target]
    everything = [work for cases in works(spec.lanes).values() for work in cases]
    assembly = compiled(everything, spec).mod.inspect_source("asm")
    for work in everything:
        assert f"__tvm_ffi_{work.key}:" in assembly


def test_a_wrong_kernel_is_found() -> None:
    """The comparison above can fail: on a value, a lane of no channel, an element left out."""
    work = workload("pointwise", (24, 40), (5, 5), 16, activation="relu6")
    case = kernel_case(work)
    right = case.want

    def writing(index: tuple[int, ...], value: float) -> Any:
        wrong = right.astype(np.float32)
        wrong[index] = value
        return lambda *tensors: tensors[-1].copyfrom(wrong)

    check_kernel(work, writing((0, 0, 6, 3), right[0, 0, 6, 3]))
    inner = right[0, 0, 6, 3] + 1.5 * case.bound[0, 0, 6, 3]
    for index, value in (((0, 0, 6, 3), inner), ((0, 2, 6, 9), 1e-9), ((0, 1, 4, 4), float("nan"))):
        with pytest.raises(AssertionError, match=r"1 of .* elements are wrong"):
            check_kernel(work, writing(index, value))
