"""The softmax of elements: exponentials are of 256 distances to the largest, and so in a table.

Loop nest, outer to inner
    images on threads → channels, three times: the largest, the sum of exponentials, the shares.

Sums are exact, so that their order is free; 1000 classes are less than a hundredth of a
classifier's products. A vector of 16 was not kept: entries are gathered one by one all the same.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.integer.maps import MapPlan
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import instructions_of
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import (
    Shape,
    kernel,
    load,
    scratch,
    store,
    units,
)

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def write_softmax(work: Workload, plan: MapPlan, target: TargetSpec) -> Any:
    """Write a softmax: data, exponentials by distance to the largest, numbers, out."""
    machine, block = instructions_of(target).scalar, work.in_block
    low, high = (tirx.const(float(end), "float32") for end in work.limits)

    def body(data: Any, exponentials: Any, numbers: Any, out: Any) -> None:
        def element(image: Any, channel: Any) -> Any:
            return data[image, channel // block, 0, channel % block].astype("int32")

        with units(work.batch, parallel=plan.parallel) as image:
            kept, share = scratch("kept", (2,), "int32"), scratch("share", (1,), "float32")
            store(kept, (0,), element(image, 0))
            store(kept, (1,), tirx.const(0, "int32"))
            with ir.serial(0, work.in_channels) as channel:
                store(kept, (0,), tirx.Max(kept[0], element(image, channel)))
            with ir.serial(0, work.in_channels) as channel:
                power = exponentials[kept[0] - element(image, channel)]
                store(kept, (1,), kept[1] + power)
            store(share, (0,), numbers[0] / kept[1].astype("float32"))
            with ir.serial(0, work.in_channels) as channel:
                power = exponentials[kept[0] - element(image, channel)]
                value = machine.multiply_add(power, share[0], load(numbers, (1,), 1))
                within = tirx.Min(tirx.Max(value, low), high)
                at = (image, channel // block, 0, channel % block)
                store(out, at, machine.rounded(within).astype(work.dtype))

    shape = (work.batch, work.in_blocks, 1, block)
    parameters: dict[str, tuple[Shape, str]] = {
        "data": (shape, work.dtype),
        "exponentials": ((256,), "int32"),
        "numbers": ((2,), "float32"),
        "out": (shape, work.dtype),
    }
    return kernel(work, parameters, body)
