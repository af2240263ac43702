"""What goes over maps of bfloat16 once: means, factors. Bound by what is loaded and stored."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.integer.maps import MapPlan
from tvm_mobilenet.schedules.tensorir.cpu.bfloat16.epilogue import activated
from tvm_mobilenet.schedules.tensorir.cpu.bfloat16.instructions import (
    instructions_of,
    narrowed,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.halves import widened
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import broadcast
from tvm_mobilenet.schedules.tensorir.cpu.integer.numbers import Parameters
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import (
    Registers,
    Shape,
    kernel,
    load,
    store,
    units,
)

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

_UNDER_WAY = 4
"""Sums of a mean at once: an addition takes as many cycles."""


def write_scale(work: Workload, plan: MapPlan, target: TargetSpec) -> Any:
    """Write a map times a factor for each channel: data, factors, out."""
    machine = instructions_of(target)
    lanes = machine.lanes

    def body(data: Any, factors: Any, out: Any) -> None:
        with units(plan.units, parallel=plan.parallel) as unit:
            image, block = unit // work.in_blocks, unit % work.in_blocks
            with ir.serial(0, work.in_pixels) as pixel:
                for v in range(machine.vectors):
                    by = widened(load(factors, (image, block, 0, v * lanes), lanes), lanes)
                    at = (image, block, pixel, v * lanes)
                    product = widened(load(data, at, lanes), lanes) * by
                    left = activated(product, work.activation, lanes)
                    store(out, at, narrowed(left, lanes))

    parameters: Parameters = {
        "data": _map(work, work.in_pixels),
        "factors": _map(work, 1),
        "out": _map(work, work.in_pixels),
    }
    return kernel(work, parameters, body, machine.functions)


def write_pool(work: Workload, plan: MapPlan, target: TargetSpec) -> Any:
    """Write the mean of a map: data, out."""
    machine = instructions_of(target)
    lanes, pixels = machine.lanes, work.in_pixels
    several = [(i, v) for i in range(min(_UNDER_WAY, pixels)) for v in range(machine.vectors)]
    steps, rest = divmod(pixels, min(_UNDER_WAY, pixels))

    def body(data: Any, out: Any) -> None:
        with units(plan.units, parallel=plan.parallel) as unit:
            image, block = unit // work.in_blocks, unit % work.in_blocks
            sums = Registers("sums", lanes, "float32")

            def read(pixel: Any, v: int) -> Any:
                return widened(load(data, (image, block, pixel, v * lanes), lanes), lanes)

            for at in several:
                sums[at] = broadcast(tirx.const(0.0, "float32"), lanes)
            with ir.serial(0, steps) as step:
                for i, v in several:
                    sums[i, v] += read(step * min(_UNDER_WAY, pixels) + i, v)
            for i, v in several:
                if i < rest:
                    sums[i, v] += read(pixels - rest + i, v)
            for v in range(machine.vectors):
                total = sum(
                    (sums[at] for at in several[machine.vectors :] if at[1] == v), sums[0, v]
                )
                share = broadcast(tirx.const(1.0 / pixels, "float32"), lanes)
                store(out, (image, block, 0, v * lanes), narrowed(total * share, lanes))

    parameters: Parameters = {"data": _map(work, pixels), "out": _map(work, 1)}
    return kernel(work, parameters, body, machine.functions)


def _map(work: Workload, pixels: int) -> tuple[Shape, str]:
    return (work.batch, work.in_blocks, pixels, work.in_block), work.element
