"""What nvcc makes of the other schedules: no spill, and no more registers than they reckon with."""

from __future__ import annotations

import dataclasses

import pytest
from kernels import workload
from test_product_resources import nvcc
from test_schedules import AROUND, SAME, WIDE, scheduled
from tvm_mobilenet.schedules.gpu.stages import REGISTERS

from tvm_mobilenet.compute.workload import Workload
from tvm_mobilenet.graph.device_code import device_code
from tvm_mobilenet.target import Dtype, TargetSpec, parse
from tvm_mobilenet.toolchain_cuda import Nvcc

__all__ = ["nvcc"]

DEPTHWISE = [  # V1, V2 and V3: one image and many, every stride and window
    (32, 112, 3, 1, AROUND, 1),
    (512, 14, 3, 1, AROUND, 1),
    (512, 14, 3, 2, SAME, 64),
    (144, 56, 3, 1, AROUND, 64),
    (960, 7, 5, 1, WIDE, 64),
    (72, 56, 5, 2, WIDE, 1),
    (240, 28, 5, 1, WIDE, 64),
]


def works(target: TargetSpec) -> list[Workload]:
    found = [
        workload(
            "depthwise", (channels, channels), (size, size), target.lanes, batch=batch,
            kernel=kernel, stride=stride, padding=padding, activation="hardswish",
        )
        for channels, size, kernel, stride, padding, batch in DEPTHWISE
    ]  # fmt: skip
    for batch in (1, 64):
        found += [
            workload(
                "conv", (3, 32), (224, 224), target.lanes, batch=batch, kernel=3, stride=2,
                padding=SAME, activation="relu6",
            ),
            workload("pool", (1024, 1024), (7, 7), target.lanes, batch=batch),
            workload("pool", (16, 16), (56, 56), target.lanes, batch=batch),
            workload("scale", (672, 672), (14, 14), target.lanes, batch=batch),
        ]  # fmt: skip
    return [dataclasses.replace(work, dtype=target.dtype) for work in found]


@pytest.mark.parametrize(("arch", "dtype"), [("sm_75", "float16"), ("sm_90", "float32")])
def test_no_spill_and_the_reckoned_registers(nvcc: Nvcc, arch: str, dtype: Dtype) -> None:
    target = parse(arch, dtype=dtype)
    functions = {work.key: scheduled(work, target) for work in works(target)}
    softmax = workload("softmax", (1000, 1000), (1, 1), 4)
    softmax = dataclasses.replace(softmax, in_block=128, out_block=128)
    functions[softmax.key] = scheduled(softmax, target)
    code = device_code(functions, target)
    used = nvcc.cubin(code.source, arch).resources
    wrong = []
    for name, func in functions.items():
        (launch,) = code.kernels[name]
        took, reckoned = used[launch.kernel], int(func.attrs[REGISTERS])
        if took.spill_bytes or took.stack_bytes or took.registers > reckoned:
            wrong.append(f"{name}: {took}, reckoned with {reckoned} registers")
    assert not wrong, "\n".join(wrong)
