"""A NaN stays one on a GPU: in OpenCL C on a device, and in CUDA's source on the processor."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import tvm
from cuda_on_cpu import run_cuda_on_cpu
from cuda_on_cpu import run_source as run_as_cuda
from not_a_number import MAXIMA, PLACE, check, not_numbers, on_gpu, tvms_own, works
from opencl import run_on_opencl, run_source
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans import plans_for
from tvm_mobilenet.schedules.tensorir.gpu.fallback import bind_to_threads
from tvm_mobilenet.schedules.tensorir.rules import schedule

import tvm_mobilenet as tm
from tvm_mobilenet.artifact.toolchain_cuda import Cubin
from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.emit.relax.codegen_cuda import generate_cuda
from tvm_mobilenet.emit.relax.device_code import device_code
from tvm_mobilenet.emit.relax.pipeline import lower
from tvm_mobilenet.machine import parse
from tvm_mobilenet.models.weights import initialize
from tvm_mobilenet.network.planning import plan_network


@pytest.mark.parametrize(
    ("name", "dtype", "run"),
    [("opencl", "float32", run_source), ("sm_80", "float16", run_as_cuda)],
)
def test_of_every_operator(name: str, dtype: Any, run: Any) -> None:
    target = parse(name, dtype=dtype)
    able = plans_for(target, "relax")
    found = works(target.lanes, dtype).items()
    cases = {name: work for name, work in found if work.operator in able}
    on_gpu(cases, target)
    functions = {}
    for work in cases.values():
        done = schedule(prim_func(work), target, Knobs())
        assert done is not None
        functions[work.key] = done.func
    code = device_code(functions, target)
    for key, work in ((work.key, work) for work in cases.values()):

        def launched(inputs: Any, out: Any, key: str = key) -> Any:
            return run(code.source, code.kernels[key], code.scratch[key], inputs, out)

        for outlier in (math.nan, math.inf):
            check(work, launched, outlier)


@pytest.mark.parametrize("run", [run_on_opencl, run_cuda_on_cpu])
@pytest.mark.parametrize("name", MAXIMA)
def test_of_operators_of_tvms_own(name: str, run: Any) -> None:
    target = parse("opencl" if run is run_on_opencl else "sm_80")
    func = tvms_own(name, tvm.target.Target("llvm"))
    x = np.random.default_rng(0).standard_normal([int(n) for n in func.params[0].ty.shape])
    x[PLACE] = math.nan
    got = run(bind_to_threads(func, target), target, [x.astype(np.float32)])
    assert not_numbers(got) == MAXIMA[name]


def test_of_a_whole_network_for_cuda() -> None:
    """TVM lowers it on another road, to which the same is told."""
    target = parse("sm_80")
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)
    lowered = lower(plan_network(model, target), initialize(model, 0))
    seen: list[str] = []

    class Reader:
        def cubin(self, source: str, arch: str) -> Cubin:
            seen.append(source)
            return Cubin(b"", arch, {})

    generate_cuda(lowered, target, Reader())  # type: ignore[arg-type]
    assert re.search(r"< 0x0p\+0f\S*\) \? 0x0p\+0f", seen[0])
    assert not re.search(r"\b(f?max|f?min)f?\(", seen[0].partition('extern "C"')[2])
