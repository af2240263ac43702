"""Kernels by themselves, as tuners and benchmarks call them: through the C interface."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tvm
from kernels import workload
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.tensorir.rules import schedule

from tvm_mobilenet.bench.peak import chains_module
from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.emit.relax.kernel_library import write_kernel
from tvm_mobilenet.errors import ArtifactError, CpuFeatureError
from tvm_mobilenet.machine import TargetSpec, host
from tvm_mobilenet.operators.workload import Operator
from tvm_mobilenet.runtime.inputs import aligned_empty
from tvm_mobilenet.runtime.kernel_library import LoadedKernel, Turns
from tvm_mobilenet.verify.kernel_case import kernel_case

SPEC = host()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("operator", ["pointwise", "depthwise"])
def test_the_right_numbers(operator: Operator, threads: int, tmp_path: Path) -> None:
    size = 1 if operator == "pointwise" else 3
    work = workload(operator, (64, 64), (14, 14), SPEC.lanes, kernel=size)
    done = schedule(prim_func(work), SPEC, Knobs())
    assert done is not None
    path = tmp_path / "kernel.so"
    write_kernel(tvm.IRModule({work.key: done.func}), SPEC, path)
    case = kernel_case(work)
    kernel = LoadedKernel(str(path), threads)
    outputs = [aligned_empty(case.want.shape, np.float32) for _ in range(3)]
    for output in outputs:
        output.fill(np.nan)
    kernel(Turns([[*case.inputs, output] for output in outputs]), 2, 2)  # the last, then the first
    assert case.error(outputs[0]) < 1e-5
    assert case.error(outputs[2]) < 1e-5
    assert np.isnan(outputs[1]).all()


def written(path: Path, spec: TargetSpec) -> str:
    write_kernel(chains_module(2, SPEC.lanes, 3), spec, path)
    return str(path)


def test_what_a_gpu_has_in_registers_is_in_the_workspace(tmp_path: Path) -> None:
    kernel = LoadedKernel(written(tmp_path / "chains.so", SPEC), 2)
    x, y = np.full(SPEC.lanes, 0.5, np.float32), np.zeros((2, 12, SPEC.lanes), np.float32)
    kernel(Turns([[x, y]]))
    np.testing.assert_allclose(y, 0.125, rtol=1e-4)


def test_what_is_no_argument(tmp_path: Path) -> None:
    kernel = LoadedKernel(written(tmp_path / "chains.so", SPEC), 1)
    raw = np.zeros(4 * (24 * SPEC.lanes + 1), np.uint8)[1:]
    with pytest.raises(ArtifactError, match="multiple"):
        kernel(Turns([[np.zeros(SPEC.lanes, np.float32), raw]]))


def test_another_processors(tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, needs=("no_processor_has_this",))
    with pytest.raises(CpuFeatureError, match="lacks instructions"):
        LoadedKernel(written(tmp_path / "chains.so", spec), 1)
