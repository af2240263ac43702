"""What goes over maps of elements once: into and out of integers, tables, sums, factors, means.

All of them are bound by what they load and store. Threads share channel blocks.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.integer.maps import MapPlan
from tvm_mobilenet.schedules.tensorir.cpu.integer.epilogue import Epilogue
from tvm_mobilenet.schedules.tensorir.cpu.integer.halves import load_numbers
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import (
    Instructions,
    broadcast,
    instructions_of,
    vector,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import (
    Registers,
    Shape,
    kernel,
    load,
    scratch,
    store,
    units,
)

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload, element_of

_FOUR = 4
"""Pixels that leave together, and bytes of a dword."""

Parameters = dict[str, tuple[Shape, str]]


class Leaving(Epilogue):
    """Saturates what is requantised already."""

    def _number(self, block: Any, v: int, sums: Any) -> Any:
        return sums


def write_quantize(work: Workload, plan: MapPlan, target: TargetSpec) -> Any:
    """Write what makes elements of plain float32: data (N, C, H, W) or (N, C), numbers, out.

    A register holds one channel of some pixels. Four channels become a dword of each.
    """
    machine, pixels, block = instructions_of(target), work.in_pixels, work.in_block
    if pixels < machine.lanes:
        machine = machine.scalar
    lanes = machine.lanes

    def element(data: Any, numbers: Any, place: list[Any]) -> Any:
        scale, shift = (broadcast(load(numbers, (i,), 1), lanes) for i in range(2))
        value = machine.multiply_add(load(data, place, lanes), scale, shift)
        return machine.rounded(within(machine, value, work.limits))

    def fours(data: Any, numbers: Any, image: Any, first: int, pixel: Any) -> Any:
        total = broadcast(tirx.const(0, "int32"), lanes)
        for i in range(min(_FOUR, work.in_channels - first)):
            place = [image, first + i, *([0, pixel] if work.in_plain == _FOUR else [])]
            part = element(data, numbers, place)
            byte = tirx.bitwise_and(part, broadcast(tirx.const(255, "int32"), lanes))
            moved = tirx.shift_left(byte, broadcast(tirx.const(8 * i, "int32"), lanes))
            total = tirx.bitwise_or(total, moved)
        return total

    def body(data: Any, numbers: Any, out: Any) -> None:
        steps = -(-pixels // lanes)
        with units(work.batch * steps, parallel=plan.parallel) as unit:
            image, step = unit // steps, unit % steps
            pixel = tirx.min(step * lanes, pixels - lanes)
            kept = scratch("kept", (lanes,), "int32")
            for first in range(0, work.in_channels, _FOUR):
                store(kept, (0,), fours(data, numbers, image, first, pixel))
                with ir.serial(0, lanes) as i:
                    dword = tirx.reinterpret(f"{work.dtype}x4", kept[i])
                    store(out, (image, first // block, pixel + i, first % block), dword)

    plain = (work.batch, work.in_channels, *(work.in_size if work.in_plain == _FOUR else ()))
    return kernel(work, {"data": (plain, "float32"), **numbers_of(2), "out": map_of(work)}, body)


def write_dequantize(work: Workload, plan: MapPlan, target: TargetSpec) -> Any:
    """Write what makes plain float32 of elements: data, numbers, out (N, C, H, W) or (N, C)."""
    pixels, block = work.in_pixels, work.in_block
    flat = work.in_plain != _FOUR

    def body(data: Any, numbers: Any, out: Any) -> None:
        channels = work.in_channels
        with (
            units(work.batch * channels, parallel=plan.parallel) as unit,
            ir.serial(0, pixels) as p,
        ):
            image, channel = unit // channels, unit % channels
            zero = numbers[1].astype("int32")
            read = data[image, channel // block, p, channel % block].astype("int32") - zero
            at = [image, channel] if flat else [image, channel, 0, p]
            ir.buffer_store(out, read.astype("float32") * numbers[0], at)

    plain = (work.batch, work.in_channels, *(() if flat else work.in_size))
    return kernel(work, {"data": map_of(work), **numbers_of(2), "out": (plain, "float32")}, body)


def write_table(work: Workload, plan: MapPlan, target: TargetSpec) -> Any:
    """Write an activation alone: data, table, out."""
    lanes = 16

    def body(data: Any, table: Any, out: Any) -> None:
        epilogue = Epilogue(work, instructions_of(target), {"table": table}, work.limits)
        whole = work.in_pixels >= _FOUR
        count = _FOUR if whole else 1
        with units(plan.units, parallel=plan.parallel) as unit:
            image, block = unit // work.in_blocks, unit % work.in_blocks
            with ir.serial(0, -(-work.in_pixels // count)) as step, ir.sblock("pixels"):
                at = (image, block, tirx.min(step * count, work.in_pixels - count), 0)
                epilogue.leave(out, at, load(data, at, lanes * count), lanes * count)

    parameters: Parameters = {"data": map_of(work), "table": ((256,), work.dtype)}
    return kernel(work, {**parameters, "out": map_of(work)}, body)


def write_add(work: Workload, plan: MapPlan, target: TargetSpec) -> Any:
    """Write the sum of two maps: one, addend, other, out."""
    machine = instructions_of(target)
    kinds = work.in_dtypes or (work.dtype, work.dtype)
    floats = not {"float32", "bfloat16"}.isdisjoint(kinds)

    def body(data: Any, addend: Any, other: Any, out: Any) -> None:
        def value(at: list[Any], v: int) -> Any:
            first, second, shift = (
                broadcast(load(addend, (i,), 1), machine.lanes) for i in range(3)
            )
            one, two = (_read(machine, buffer, at, v) for buffer in (data, other))
            moved = machine.multiply_add(one, first, shift)
            total = machine.multiply_add(two, second, moved)
            return within(machine, total, work.limits) if floats else total

        over_pixels(work, plan, machine, out, value)

    shape = map_of(work)[0]
    parameters: Parameters = {
        "data": (shape, element_of(kinds[0])),
        **numbers_of(3, "addend"),
        "other": (shape, element_of(kinds[1])),
        "out": map_of(work),
    }
    return kernel(work, parameters, body)


def write_scale(work: Workload, plan: MapPlan, target: TargetSpec) -> Any:
    """Write a map times a factor for each channel: data, numbers, factors, out."""
    machine = instructions_of(target)
    lanes = machine.lanes

    def body(data: Any, numbers: Any, factors: Any, out: Any) -> None:
        def value(at: list[Any], v: int) -> Any:
            scale, shift = (broadcast(load(numbers, (i,), 1), lanes) for i in range(2))
            zeros = (work.zero_point, work.other_zero_point)
            places = (at, [at[0], at[1], 0, 0])
            one, two = (
                _read(machine, buffer, place, v) - broadcast(tirx.const(zero, "int32"), lanes)
                for buffer, place, zero in zip((data, factors), places, zeros, strict=True)
            )
            return machine.multiply_add(one * two, scale, shift)

        over_pixels(work, plan, machine, out, value)

    parameters: Parameters = {
        "data": map_of(work),
        **numbers_of(2),
        "factors": ((work.batch, work.in_blocks, 1, 16), work.dtype),
        "out": map_of(work),
    }
    return kernel(work, parameters, body)


def write_pool(work: Workload, plan: MapPlan, target: TargetSpec) -> Any:
    """Write the mean of a map: data, numbers, out."""
    machine = instructions_of(target)
    lanes = machine.lanes

    def body(data: Any, numbers: Any, out: Any) -> None:
        leaving = Leaving(work, machine, {}, work.limits)
        with units(plan.units, parallel=plan.parallel) as unit:
            image, block = unit // work.in_blocks, unit % work.in_blocks
            sums = Registers("sums", lanes)
            for v in range(machine.vectors):
                sums[v] = broadcast(tirx.const(0, "int32"), lanes)
            with ir.serial(0, work.in_pixels) as pixel:
                for v in range(machine.vectors):
                    sums[v] += _read(machine, data, [image, block, pixel, 0], v)
            scale, shift = (broadcast(load(numbers, (i,), 1), lanes) for i in range(2))
            leaving.write(
                out,
                block,
                1,
                lambda _, v: machine.multiply_add(sums[v], scale, shift),
                lambda _: [image, block, 0, 0],
            )

    shape = (work.batch, work.out_blocks, 1, 16)
    parameters: Parameters = {"data": map_of(work), **numbers_of(2), "out": (shape, work.dtype)}
    return kernel(work, parameters, body)


def over_pixels(work: Workload, plan: MapPlan, machine: Instructions, out: Any, value: Any) -> None:
    """Write every pixel of a map; `value` is of its indices and one of its registers."""
    count, pixels = min(_FOUR, work.in_pixels), work.in_pixels
    leaving = Leaving(work, machine, {}, work.limits)
    with units(plan.units, parallel=plan.parallel) as unit:
        image, block = unit // work.in_blocks, unit % work.in_blocks
        with ir.serial(0, -(-pixels // count)) as step, ir.sblock("pixels"):
            first = tirx.min(step * count, pixels - count)

            def place(pixel: int) -> list[Any]:
                return [image, block, first + pixel, 0]

            leaving.write(out, block, count, lambda pixel, v: value(place(pixel), v), place)


def within(machine: Instructions, value: Any, limits: tuple[int, int]) -> Any:
    """Clip numbers of any size; in this order NaN becomes the least element."""
    low, high = (broadcast(tirx.const(float(end), "float32"), machine.lanes) for end in limits)
    return tirx.Min(tirx.Max(value, low), high)


def _read(machine: Instructions, buffer: Any, at: list[Any], v: int) -> Any:
    """Load a register of a map: elements as int32, numbers as float32."""
    *outer, last = at
    place = [*outer, last + v * machine.lanes]
    if str(buffer.dtype) in ("float32", "uint16"):
        return load_numbers(buffer, place, machine.lanes)
    return tirx.Cast(vector("int32", machine.lanes), load(buffer, place, machine.lanes))


def map_of(work: Workload) -> tuple[Shape, str]:
    """Return shape and type of a map of elements."""
    return (work.batch, work.in_blocks, work.in_pixels, work.in_block), work.dtype


def numbers_of(count: int, name: str = "numbers") -> Parameters:
    """Return the parameter that is some numbers of float32."""
    return {name: ((count,), "float32")}
