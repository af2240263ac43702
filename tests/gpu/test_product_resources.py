"""What nvcc makes of matrix products: no spill, and the occupancy that the rule reckons."""

from __future__ import annotations

import dataclasses

import pytest
from kernels import workload
from test_products import scheduled, separable_of
from tvm_mobilenet.schedules.gpu.stages import REGISTERS
from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.compute.workload import Workload
from tvm_mobilenet.errors import ToolchainError
from tvm_mobilenet.graph.device_code import device_code
from tvm_mobilenet.target import Dtype, TargetSpec, parse
from tvm_mobilenet.toolchain_cuda import Nvcc, find_nvcc


@pytest.fixture(scope="module")
def nvcc() -> Nvcc:
    try:
        return find_nvcc()
    except ToolchainError as error:
        pytest.skip(f"no nvcc: {error}")


def works(target: TargetSpec) -> list[Workload]:
    """Layers of V1 and V2: large and small maps, one image and many, whole and ragged tiles."""
    pairs = [((32, 64), 112, 1), ((256, 512), 14, 1), ((1024, 1024), 7, 1), ((160, 960), 7, 1)]
    pairs += [((64, 128), 56, 64), ((1024, 1024), 7, 64), ((144, 24), 56, 64)]
    found = [
        workload("pointwise", pair, (size, size), target.lanes, batch=batch, activation="relu6")
        for pair, size, batch in pairs
    ]
    found += [workload("dense", (1024, 1000), (1, 1), target.lanes, batch=n) for n in (1, 64)]
    same = (1, 1, 1, 1)
    found += [
        separable_of((64, 128), (56, 56), 3, 1, same, target),
        separable_of((512, 512), (14, 14), 3, 1, same, target, batch=64),
    ]
    return [dataclasses.replace(work, dtype=target.dtype) for work in found]


@pytest.mark.parametrize("arch", ["sm_75", "sm_90"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_no_spill_and_the_reckoned_occupancy(nvcc: Nvcc, arch: str, dtype: Dtype) -> None:
    target = parse(arch, dtype=dtype)
    assert target.gpu is not None
    functions = {work.key: scheduled(work, target, Knobs()) for work in works(target)}
    code = device_code(functions, target)
    used = nvcc.cubin(code.source, arch).resources
    wrong = []
    for name, func in functions.items():
        (launch,) = code.kernels[name]
        took, reckoned = used[launch.kernel], int(func.attrs[REGISTERS])
        blocks = target.gpu.resident_blocks(launch.threads, reckoned, launch.shared_bytes)
        if took.spill_bytes or took.stack_bytes:
            wrong.append(f"{name}: {took}, reckoned with {reckoned} registers")
        if took.blocks(target.gpu, launch.threads) < blocks or not blocks:
            wrong.append(f"{name}: {took}, reckoned with {blocks} blocks on a unit")
    assert not wrong, "\n".join(wrong)
