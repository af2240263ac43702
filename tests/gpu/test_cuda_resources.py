"""What nvcc reports of every schedule on every architecture: registers, shared memory, spills.

By rule, on layers of V1 and V3 at their full size, batch 1 and 64. One translation unit for an
architecture and a type: nvcc takes a third of a second for each kernel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cuda_road import nvcc
from kernels import fused_of_model, of_model, workload
from test_products import separable_of
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.tensorir.gpu.stages import REGISTERS
from tvm_mobilenet.schedules.tensorir.rules import schedule

from tvm_mobilenet import mobilenet_v1
from tvm_mobilenet.artifact.launches import DeviceCode
from tvm_mobilenet.artifact.resources import Resources
from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.emit.relax.device_code import device_code
from tvm_mobilenet.machine import Dtype, TargetSpec, parse
from tvm_mobilenet.operators.workload import Workload

BOTH: tuple[Dtype, ...] = ("float32", "float16")
# A unit of sm_86 and sm_87 is as large as one of sm_89.
ARCHITECTURES: dict[str, tuple[Dtype, ...]] = {
    "sm_75": BOTH, "sm_80": BOTH, "sm_86": ("float16",), "sm_89": ("float32",), "sm_90": BOTH,
}  # fmt: skip
MORE_PRODUCTS = ("sm_75", "sm_90")
SAME, AROUND = (1, 1, 1, 1), (2, 2, 2, 2)
ALIGNED = 256
"""Bytes that a kernel's arrays in shared memory may lose to their alignment."""


def products(target: TargetSpec) -> list[Workload]:
    """Layers of V1 and V2: large and small maps, one image and many, whole and ragged tiles."""
    pairs = [((32, 64), 112, 1), ((256, 512), 14, 1), ((1024, 1024), 7, 1), ((160, 960), 7, 1)]
    pairs += [((64, 128), 56, 64), ((1024, 1024), 7, 64), ((144, 24), 56, 64)]
    found = [
        workload("pointwise", pair, (size, size), target.lanes, batch=batch, activation="relu6")
        for pair, size, batch in pairs
    ]
    found += [workload("dense", (1024, 1000), (1, 1), target.lanes, batch=n) for n in (1, 64)]
    return [
        *found,
        separable_of((64, 128), (56, 56), 3, 1, SAME, target),
        separable_of((512, 512), (14, 14), 3, 1, SAME, target, batch=64),
    ]


def workloads(target: TargetSpec) -> list[Workload]:
    """Each operator at its largest, its smallest, and between; what only V3 has."""
    lanes = target.lanes
    found: list[Workload] = []
    for batch, layers in ((1, (0, 1, 2, 3, 8, 10, 21, 24, 25)), (64, (2, 7, 17, 24))):
        of_v1 = list(of_model(mobilenet_v1(batch=batch), lanes).values())
        found += [of_v1[min(i, len(of_v1) - 1)] for i in layers]
        fused = fused_of_model(mobilenet_v1(batch=batch), lanes).values()
        blocks = [w for w in fused if w.operator == "separable"]
        found += [blocks[i] for i in (1, 2, 4, 7)]
    found += [
        workload("scale", (72, 72), (28, 28), lanes, activation="none"),
        workload("pointwise", (16, 8), (1, 1), lanes, activation="relu"),
        workload("pointwise", (240, 40), (14, 14), lanes, residual=True),
        workload(
            "depthwise", (72, 72), (28, 28), lanes,
            kernel=5, padding=AROUND, activation="hardswish",
        ),
    ]  # fmt: skip
    if target.the_gpu.arch in MORE_PRODUCTS:
        found += products(target)
    dtype = target.dtype
    return [w if w.operator == "softmax" else replace(w, dtype=dtype) for w in found]


@pytest.mark.parametrize(
    ("arch", "dtype"), [(arch, dtype) for arch, dtypes in ARCHITECTURES.items() for dtype in dtypes]
)
def test_no_spill_and_the_occupancy_that_the_rule_predicts(arch: str, dtype: Dtype) -> None:
    target = parse(arch, dtype=dtype)
    gpu = target.the_gpu
    funcs: dict[str, Any] = {}
    for work in workloads(target):
        done = schedule(prim_func(work), target, Knobs())
        assert done is not None, work.key
        funcs[work.key] = done.func
    code: DeviceCode = device_code(funcs, target)
    used: dict[str, Resources] = nvcc().cubin(code.source, arch).resources
    assert len(used) == sum(map(len, code.kernels.values()))
    for key, launches in code.kernels.items():
        for launch in launches:
            found = used[launch.kernel]
            assert (found.spill_bytes, found.stack_bytes) == (0, 0), key
            assert found.shared_bytes <= launch.shared_bytes + ALIGNED, key
            assert found.blocks(gpu, launch.threads) >= 1, key
        reckoned = int((funcs[key].attrs or {}).get(REGISTERS, 0))
        if reckoned:
            (launch,) = launches
            least = gpu.resident_blocks(launch.threads, reckoned, launch.shared_bytes)
            assert used[launch.kernel].blocks(gpu, launch.threads) >= least >= 1, key
