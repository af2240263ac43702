"""Largest elements and means of windows.

Loop nest, outer to inner
    (image, channel block) on threads → rows → columns → taps, unrolled.

A window that reaches beyond the map sees its edge instead: the edge is in the window, so that the
largest element stays what it is, and of a mean such an element is counted as 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.integer.maps import MapPlan
from tvm_mobilenet.schedules.tensorir.cpu.integer.epilogue import Epilogue
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import (
    broadcast,
    instructions_of,
    vector,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.maps import Leaving
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import (
    Registers,
    Shape,
    kernel,
    load,
    units,
)

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

_LANES = 16


def write_largest(work: Workload, plan: MapPlan, target: TargetSpec) -> Any:
    """Write the largest element of each window: data, perhaps a table, out."""

    def body(data: Any, out: Any, table: Any = None) -> None:
        buffers = {} if table is None else {"table": table}
        epilogue = Epilogue(work, instructions_of(target), buffers, work.limits)
        with units(plan.units, parallel=plan.parallel) as unit:
            image, block = unit // work.in_blocks, unit % work.in_blocks
            loops = ir.serial(0, work.out_size[0]), ir.serial(0, work.out_size[1])
            with loops[0] as y, loops[1] as x, ir.sblock("window"):
                largest = None
                for pixel, _ in _taps(work, y, x):
                    read = load(data, (image, block, pixel, 0), _LANES)
                    largest = read if largest is None else tirx.Max(largest, read)
                at = (image, block, y * work.out_size[1] + x, 0)
                epilogue.leave(out, at, largest, _LANES)

    data, out = _maps(work)
    tables: dict[str, tuple[Shape, str]] = {"table": ((256,), work.dtype)} if work.moved else {}
    return kernel(work, {"data": data, **tables, "out": out}, body)


def write_mean(work: Workload, plan: MapPlan, target: TargetSpec) -> Any:
    """Write the mean of each window: data, scale (OH * OW,), shift (1,), out."""
    machine = instructions_of(target)
    lanes = machine.lanes

    def body(data: Any, scale: Any, shift: Any, out: Any) -> None:
        leaving = Leaving(work, machine, {}, work.limits)
        zero = broadcast(tirx.const(work.zero_point, "int32"), lanes)
        with units(plan.units, parallel=plan.parallel) as unit:
            image, block = unit // work.in_blocks, unit % work.in_blocks
            loops = ir.serial(0, work.out_size[0]), ir.serial(0, work.out_size[1])
            with loops[0] as y, loops[1] as x, ir.sblock("window"):
                sums = Registers("sums", lanes)
                for v in range(machine.vectors):
                    sums[v] = broadcast(tirx.const(0, "int32"), lanes)
                    for pixel, inside in _taps(work, y, x):
                        read = load(data, (image, block, pixel, v * lanes), lanes)
                        element = tirx.Cast(vector("int32", lanes), read) - zero
                        sums[v] += element if inside is None else element * broadcast(inside, lanes)
                place = y * work.out_size[1] + x
                numbers = [
                    broadcast(load(of, (at,), 1), lanes) for of, at in ((scale, place), (shift, 0))
                ]
                leaving.write(
                    out,
                    block,
                    1,
                    lambda _, v: machine.multiply_add(sums[v], *numbers),
                    lambda _: [image, block, place, 0],
                )

    data, out = _maps(work)
    parameters: dict[str, tuple[Shape, str]] = {
        "data": data,
        "scale": ((work.out_pixels,), "float32"),
        "shift": ((1,), "float32"),
    }
    return kernel(work, {**parameters, "out": out}, body)


def _taps(work: Workload, y: Any, x: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the pixel of each tap, and 1 where that is within the map, None where all are."""
    (height, width), (down, along), (top, left, *_) = work.in_size, work.strides, work.padding
    for r in range(work.kernel[0]):
        row, within = _clamped(y * down + r - top, height, _overlaps(work, 0))
        for q in range(work.kernel[1]):
            column, also = _clamped(x * along + q - left, width, _overlaps(work, 1))
            both = [one for one in (within, also) if one is not None]
            inside = None
            for one in both:
                own = tirx.Cast("int32", one)
                inside = own if inside is None else inside * own
            yield row * width + column, inside


def _clamped(at: Any, length: int, overlaps: bool) -> tuple[Any, Any]:
    if not overlaps:
        return at, None
    within = tirx.all(at >= 0, at < length)
    return tirx.max(tirx.min(at, length - 1), 0), within


def _overlaps(work: Workload, axis: int) -> bool:
    """Whether some window reaches beyond the map."""
    last = (work.out_size[axis] - 1) * work.strides[axis] + work.kernel[axis]
    before = work.padding[axis]
    return before > 0 or last - before > work.in_size[axis]


def _maps(work: Workload) -> list[tuple[Shape, str]]:
    sizes = (work.in_pixels, work.out_pixels)
    return [((work.batch, work.in_blocks, pixels, _LANES), work.dtype) for pixels in sizes]
