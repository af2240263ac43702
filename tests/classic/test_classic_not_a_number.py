"""On the classic stack too a NaN comes out where the reference's does, whoever made the kernel."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from classic.test_te_gpu import code_of
from classic.test_te_schedules import built, here
from gpu.opencl import opencl_context, run_source
from kernels import workload
from not_a_number import check, on_gpu, works
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans import plans_for

import tvm_mobilenet as tm
from tvm_mobilenet.machine import PRESETS, TargetSpec, parse
from tvm_mobilenet.operators.workload import Workload

X86 = ["x86-64", "x86-64-v3"]


def cases(target: TargetSpec) -> list[Workload]:
    able = plans_for(target, "relay")
    found = {name: w for name, w in works(target.lanes).items() if w.operator in able}
    if target.gpu is not None:
        on_gpu(found, target)
    return list(found.values())


@pytest.mark.parametrize("name", X86)
def test_of_every_operator(name: str) -> None:
    target = here(name)
    kernels = built(cases(target), target)
    for work in cases(target):

        def run(inputs: Any, out: Any, key: str = work.key) -> Any:
            tensors = [tvm.nd.array(array) for array in (*inputs, out)]
            kernels[key](*tensors)
            return tensors[-1].numpy()

        for outlier in (math.nan, math.inf):
            check(work, run, outlier)


def test_what_aarch64_is_told() -> None:
    target = PRESETS["rpi4"]
    work = workload("pointwise", (16, 32), (5, 5), target.lanes, activation="relu6")
    used = set(built([work], target).get_source("asm").split())
    assert {"fmax", "fmin"} <= used
    assert not {"fmaxnm", "fminnm", "fcmgt"} & used


def test_of_every_operator_on_a_gpu() -> None:
    opencl_context()
    target = parse("opencl")
    code = code_of([(work, Knobs()) for work in cases(target)], target)
    for work in cases(target):

        def run(inputs: Any, out: Any, key: str = work.key) -> Any:
            return run_source(code.source, code.kernels[key], code.scratch[key], inputs, out)

        check(work, run, math.nan)


@pytest.mark.parametrize("target", ["native", "opencl"])
def test_of_relays_own(tmp_path: Path, target: str) -> None:
    from onnx_nets import Net

    if target == "opencl":
        opencl_context()
    net = Net((1, 3, 8, 8))
    value = net.op("MaxPool", "image", kernel_shape=[2, 2], strides=[2, 2])
    value = net.op("Clip", value, net.const(-1.0), net.const(1.0))
    path = net.save(tmp_path / "net.onnx", net.depthwise(value, 1))
    x = np.zeros((1, 3, 8, 8), np.float32)
    x[0, 1, 4, 7] = math.nan
    got = tm.compile(path, target=target).module(x)
    assert np.argwhere(np.isnan(got)).tolist() == [[0, 1, 2, 3]]
