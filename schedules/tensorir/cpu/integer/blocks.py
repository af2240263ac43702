"""Between elements and numbers where both lie in blocks: nothing changes place."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.integer.maps import MapPlan
from tvm_mobilenet.schedules.tensorir.cpu.integer.halves import load_numbers, store_numbers
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import (
    broadcast,
    instructions_of,
    vector,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.maps import (
    map_of,
    numbers_of,
    over_pixels,
    within,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import kernel, load, units

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload, element_of


def write_quantize_blocks(work: Workload, plan: MapPlan, target: TargetSpec) -> Any:
    """Write what makes elements of float32 or bfloat16: data, numbers, out."""
    machine = instructions_of(target)
    lanes = machine.lanes

    def body(data: Any, numbers: Any, out: Any) -> None:
        def value(at: list[Any], v: int) -> Any:
            scale, shift = (broadcast(load(numbers, (i,), 1), lanes) for i in range(2))
            *outer, last = at
            read = load_numbers(data, [*outer, last + v * lanes], lanes)
            return within(machine, machine.multiply_add(read, scale, shift), work.limits)

        over_pixels(work, plan, machine, out, value)

    shape, stored = map_of(work)
    parameters = {"data": (shape, element_of(work.in_dtypes[0])), **numbers_of(2)}
    return kernel(work, {**parameters, "out": (shape, stored)}, body)


def write_dequantize_blocks(work: Workload, plan: MapPlan, target: TargetSpec) -> Any:
    """Write what makes float32 or bfloat16 of elements: data, numbers, out."""
    machine = instructions_of(target)
    lanes = machine.lanes

    def body(data: Any, numbers: Any, out: Any) -> None:
        scale = broadcast(load(numbers, (0,), 1), lanes)
        zero = broadcast(load(numbers, (1,), 1).astype("int32"), lanes)
        with units(plan.units, parallel=plan.parallel) as unit:
            image, block = unit // work.in_blocks, unit % work.in_blocks
            with ir.serial(0, work.in_pixels) as pixel:
                for v in range(machine.vectors):
                    at = (image, block, pixel, v * lanes)
                    element = tirx.Cast(vector("int32", lanes), load(data, at, lanes))
                    number = tirx.Cast(vector("float32", lanes), element - zero)
                    store_numbers(out, at, number * scale)

    shape, stored = map_of(work)
    parameters = {"data": (shape, stored), **numbers_of(2)}
    return kernel(work, {**parameters, "out": (shape, work.out_element)}, body)
