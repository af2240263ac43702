"""Products in integers: pointwise layers, classifiers, full convolutions.

Loop nest, outer to inner
    (image, pixel chunk, group of output blocks) on threads → tiles of pixels → blocks of 16
    input channels → four dwords → pixels of the tile, blocks of the group, unrolled.

Registers
    pixels x blocks sums, one block's weights, one dword of inputs in every lane: 14 x 2 + 2 + 1
    of 32 with AVX-512. The last tile begins where it ends with the map and computes some
    pixels again: the same bytes, so that nobody minds who writes them first.

Traffic
    A group's weights (depth x blocks x 16 bytes: 16 KB at depth 512) stay in L1 for all tiles.

Bound
    Multiply-adds. Where depth is below 64, conversions: four instructions for 16 sums.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.integer.products import ProductPlan
from tvm_mobilenet.schedules.tensorir.cpu.integer.borders import columns_of, rows_of
from tvm_mobilenet.schedules.tensorir.cpu.integer.numbers import INTEGERS, Numbers
from tvm_mobilenet.schedules.tensorir.cpu.integer.sums import Sums, sums_of
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import (
    Shape,
    kernel,
    scratch,
    store,
    units,
)

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

_BLOCK = 16
"""Channels in a block."""


def first_block(work: Workload, plan: ProductPlan, group: Any) -> Any:
    """Return a group's first block of output channels; the last group ends with the layer."""
    return tirx.min(group * plan.blocks, work.out_blocks - plan.blocks)


def _last_first(
    inputs: Callable[[int, Any, int], Any], block: Any, channel: int, pixel: int
) -> Any:
    return inputs(pixel, block, channel)


def over_channels(
    sums: Sums, work: Workload, inputs: Callable[[int, Any, int], Any], first: Any = 0
) -> None:
    """Add up the products over input channels.

    Parameters
    ----------
    inputs : callable
        From a pixel of the tile, a block of 16 input channels and the first channel of one of its
        dwords to that, in every lane.
    first : PrimExpr
        The row of the weights where these begin.
    """
    for number in range(work.passes):
        _over_rows(sums, work, inputs, first + number * (work.depth // work.step))


def _over_rows(
    sums: Sums, work: Workload, inputs: Callable[[int, Any, int], Any], first: Any
) -> None:
    whole, rest = divmod(work.depth, _BLOCK)
    each = work.step

    def steps(block: Any, channels: int) -> None:
        sums.reserve(channels)
        for channel in range(0, channels, each):
            at = first + block * (_BLOCK // each) + channel // each
            sums.add(at, partial(_last_first, inputs, block, channel))

    together = max(sums.most // _BLOCK, 1)
    turns, left = divmod(whole, together)
    if turns > 1:
        sums.carry()
        with ir.serial(0, turns) as turn:
            with ir.serial(0, together) as i:
                steps(turn * together + i, _BLOCK)
            sums.carry()
    else:
        left = whole
    for block in range(whole - left, whole):
        steps(block, _BLOCK)
    if rest:
        steps(whole, rest)


def write_pointwise(
    work: Workload, plan: ProductPlan, target: TargetSpec, numbers: Numbers = INTEGERS
) -> Any:
    """Write a pointwise layer: data, weights, perhaps table, addend and residual, out."""
    machine, pixels = numbers.instructions(target, work.rows), work.out_pixels
    shape = (work.batch, work.out_blocks, pixels, 16)

    def body(data: Any, weight: Any, out: Any, **others: Any) -> None:
        epilogue = numbers.epilogue(work, machine, others, work.depth)
        groups, tiles = -(-work.out_blocks // plan.blocks), plan.tiles(pixels) // plan.chunks
        with units(plan.units, parallel=plan.parallel) as unit:
            group, chunk = unit % groups, unit // groups % plan.chunks
            image = unit // (groups * plan.chunks)
            block = first_block(work, plan, group)
            with ir.serial(0, tiles) as tile, ir.sblock("tile"):
                first = tirx.min((chunk * tiles + tile) * plan.pixels, pixels - plan.pixels)
                sums = sums_of(work, epilogue, weight, plan.pixels, block, plan.blocks)
                over_channels(
                    sums,
                    work,
                    lambda pixel, kb, channel: machine.inputs(
                        data, (image, kb, first + pixel, channel), machine.lanes
                    ),
                )
                sums.leave(out, lambda pixel, ob: [image, ob, first + pixel, 0])

    parameters: dict[str, tuple[Shape, str]] = {
        "data": ((work.batch, work.in_blocks, work.in_pixels, 16), work.element),
        **numbers.weights(work, rows_shape(work)),
        **numbers.residual(work, shape),
        "out": (shape, work.out_element),
    }
    return kernel(work, parameters, body, machine.functions)


def write_dense(
    work: Workload, plan: ProductPlan, target: TargetSpec, numbers: Numbers = INTEGERS
) -> Any:
    """Write a classifier, whose sums leave as float32: data, weights, out (N, O)."""
    machine, outputs = numbers.instructions(target, work.rows), work.out_channels
    leaving = dataclasses.replace(work, out_dtype="float32")

    def body(data: Any, weight: Any, out: Any, **others: Any) -> None:
        epilogue = numbers.epilogue(leaving, machine, others, work.depth)
        groups = -(-work.out_blocks // plan.blocks)
        with units(plan.units, parallel=plan.parallel) as unit:
            group, image = unit % groups, unit // groups
            block = first_block(work, plan, group)
            sums = sums_of(work, epilogue, weight, 1, block, plan.blocks)
            over_channels(
                sums,
                work,
                lambda _, kb, channel: machine.inputs(data, (image, kb, 0, channel), machine.lanes),
            )
            kept = scratch("kept", (plan.blocks * 16,), "float32")
            sums.leave(kept, lambda _, ob: [(ob - block) * 16])
            with ir.serial(0, tirx.min(plan.blocks * 16, outputs - block * 16)) as i:
                store(out, (image, block * 16 + i), kept[i])

    parameters: dict[str, tuple[Shape, str]] = {
        "data": ((work.batch, work.in_blocks, 1, 16), work.element),
        **numbers.weights(work, rows_shape(work)),
        "out": ((work.batch, outputs), "float32"),
    }
    return kernel(work, parameters, body, machine.functions)


def rows_shape(work: Workload) -> Shape:
    """Return the shape of packed weights: (Ob, taps * passes * depth / step, 16, step)."""
    rows = math.prod(work.kernel) * work.passes * work.depth // work.step
    return (work.out_blocks, rows, _BLOCK, work.step)


def write_conv(
    work: Workload, plan: ProductPlan, target: TargetSpec, numbers: Numbers = INTEGERS
) -> Any:
    """Write a full convolution: data, weights, perhaps a table, out; of an image also plain.

    Threads share rows. Each copies those that its windows touch, with their borders: of an
    image of four bytes a pixel that is little, and every window is alike afterwards.
    """
    machine = numbers.instructions(target, work.rows)
    (rows, width), stride, (down, along) = work.out_size, work.strides, work.kernel
    rows //= plan.chunks
    of_tap = work.passes * work.depth // work.step

    def body(data: Any, weight: Any, out: Any, **others: Any) -> None:
        epilogue = numbers.epilogue(work, machine, others, down * along * work.depth)
        read, tiles = rows_of(work, rows), plan.tiles(width)
        groups = -(-work.out_blocks // plan.blocks)

        def write_tile(place: tuple[Any, Any], window: Any, y: Any, group: Any, tile: Any) -> None:
            image, chunk = place
            block = first_block(work, plan, group)
            first = tirx.min(tile * plan.pixels, width - plan.pixels)
            sums = sums_of(work, epilogue, weight, plan.pixels, block, plan.blocks)

            def add_row(r: Any) -> None:
                for q in range(along):

                    def inputs(pixel: int, kb: Any, channel: int, q: int = q) -> Any:
                        at = (kb, y * stride[0] + r, (first + pixel) * stride[1] + q, channel)
                        return machine.inputs(window, at, machine.lanes)

                    over_channels(sums, work, inputs, (r * along + q) * of_tap)

            if machine.unrolls:
                for r in range(down):
                    add_row(r)
            else:
                with ir.serial(0, down) as r:
                    add_row(r)
                    sums.carry()
            begin = (chunk * rows + y) * width + first
            sums.leave(out, lambda pixel, ob: [image, ob, begin + pixel, 0])

        with units(plan.units, parallel=plan.parallel) as unit:
            chunk, image = unit % plan.chunks, unit // plan.chunks
            block = max(work.in_block, min(1 << (work.depth - 1).bit_length(), _BLOCK))
            window = scratch(
                "window", (-(-work.depth // block), read, columns_of(work), block), work.element
            )
            above = chunk * rows * stride[0] - work.padding[0]
            numbers.copy(work, machine, data, image, above, window)
            loops = ir.serial(0, rows), ir.serial(0, groups), ir.serial(0, tiles)
            with loops[0] as y, loops[1] as group, loops[2] as tile, ir.sblock("tile"):
                write_tile((image, chunk), window, y, group, tile)

    shape = (work.batch, work.out_blocks, work.out_pixels, 16)
    parameters: dict[str, tuple[Shape, str]] = {
        "data": numbers.image(work),
        **numbers.weights(work, rows_shape(work)),
        "out": (shape, work.out_element),
    }
    return kernel(work, parameters, body, machine.functions)
