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

from collections.abc import Callable
from functools import partial
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.integer.products import ProductPlan
from tvm_mobilenet.schedules.tensorir.cpu.integer.borders import columns_of, copy_rows, rows_of
from tvm_mobilenet.schedules.tensorir.cpu.integer.epilogue import Epilogue
from tvm_mobilenet.schedules.tensorir.cpu.integer.instructions import (
    Instructions,
    broadcast,
    instructions_of,
)
from tvm_mobilenet.schedules.tensorir.cpu.integer.pixels import copy_pixels
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import (
    Registers,
    Shape,
    dword,
    dwords,
    kernel,
    scratch,
    store,
    units,
    weight_parameters,
)

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def residual_parameters(work: Workload, shape: Shape) -> dict[str, tuple[Shape, str]]:
    """Return the parameters of a residual connection."""
    if not work.residual:
        return {}
    return {"addend": ((3,), "float32"), "residual": (shape, work.dtype)}


def first_block(work: Workload, plan: ProductPlan, group: Any) -> Any:
    """Return a group's first block of output channels; the last group ends with the layer."""
    return tirx.min(group * plan.blocks, work.out_blocks - plan.blocks)


class Sums:
    """The sums of a tile, 0 at first: some pixels of some blocks of output channels."""

    def __init__(
        self, machine: Instructions, weight: Any, pixels: int, first_block: Any, blocks: int
    ) -> None:
        self._machine, self._weight = machine, weight
        self._pixels, self._first, self._blocks = pixels, first_block, blocks
        self._sums = Registers("sums", machine.lanes)
        zeros = broadcast(tirx.const(0, "int32"), self._machine.lanes)
        for at in self._each():
            self._sums[at] = zeros

    def add(self, row: Any, inputs: Callable[[int], Any]) -> None:
        """Add the products of one step.

        Parameters
        ----------
        row : PrimExpr
            The row of the packed weights that they are multiplied by.
        inputs : callable
            From a pixel of the tile to its four inputs, in every lane.
        """
        lanes = self._machine.lanes
        for pixel, block, v in self._each():
            weights = dwords(self._weight, (self._first + block, row, v * lanes, 0), lanes)
            at = (pixel, block, v)
            self._sums[at] = self._machine.step(self._sums[at], inputs(pixel), weights)

    def leave(self, epilogue: Epilogue, out: Any, place: Callable[[int, Any], list[Any]]) -> None:
        """Write what they become; `place` is of a pixel of the tile and a block of the output."""
        for i in range(self._blocks):
            block = self._first + i
            epilogue.write(
                out,
                block,
                self._pixels,
                partial(self._of, i),
                partial(_swapped, place, block),
            )

    def _of(self, block: int, pixel: int, v: int) -> Any:
        return self._sums[pixel, block, v]

    def _each(self) -> list[tuple[int, int, int]]:
        return [
            (pixel, block, v)
            for pixel in range(self._pixels)
            for block in range(self._blocks)
            for v in range(self._machine.vectors)
        ]


def _swapped(place: Callable[[int, Any], list[Any]], block: Any, pixel: int) -> list[Any]:
    return place(pixel, block)


def _last_first(inputs: Callable[[int, Any, int], Any], block: Any, four: int, pixel: int) -> Any:
    return inputs(pixel, block, four)


def over_channels(
    sums: Sums, depth: int, inputs: Callable[[int, Any, int], Any], first: Any = 0
) -> None:
    """Add up the products over input channels.

    Parameters
    ----------
    inputs : callable
        From a pixel of the tile, a block of 16 input channels and one of its dwords to four inputs.
    first : PrimExpr
        The row of the weights where these begin.
    """
    whole, rest = divmod(depth, 16)

    def fours(block: Any, count: int) -> None:
        for four in range(count):
            at = first + block * 4 + four
            sums.add(at, partial(_last_first, inputs, block, four))

    if whole == 1:
        fours(0, 4)
    elif whole:
        with ir.serial(0, whole) as block:
            fours(block, 4)
    if rest:
        fours(whole, rest // 4)


def write_pointwise(work: Workload, plan: ProductPlan, target: TargetSpec) -> Any:
    """Write a pointwise layer: data, weights, perhaps table, addend and residual, out."""
    machine, pixels = instructions_of(target), work.out_pixels
    shape = (work.batch, work.out_blocks, pixels, 16)
    floats = work.out_dtype == "float32"

    def body(data: Any, weight: Any, out: Any, **others: Any) -> None:
        epilogue = Epilogue(work, machine, others, work.limits, floats=floats)
        groups, tiles = -(-work.out_blocks // plan.blocks), plan.tiles(pixels) // plan.chunks
        with units(plan.units, parallel=plan.parallel) as unit:
            group, chunk = unit % groups, unit // groups % plan.chunks
            image = unit // (groups * plan.chunks)
            block = first_block(work, plan, group)
            with ir.serial(0, tiles) as tile, ir.sblock("tile"):
                first = tirx.min((chunk * tiles + tile) * plan.pixels, pixels - plan.pixels)
                sums = Sums(machine, weight, plan.pixels, block, plan.blocks)
                over_channels(
                    sums,
                    work.depth,
                    lambda pixel, kb, four: dword(
                        data, (image, kb, first + pixel, 4 * four), machine.lanes
                    ),
                )
                sums.leave(epilogue, out, lambda pixel, ob: [image, ob, first + pixel, 0])

    parameters: dict[str, tuple[Shape, str]] = {
        "data": ((work.batch, work.in_blocks, work.in_pixels, 16), work.dtype),
        **weight_parameters(work, (work.out_blocks, work.depth // 4, 16, 4)),
        **residual_parameters(work, shape),
        "out": (shape, work.out_dtype or work.dtype),
    }
    return kernel(work, parameters, body)


def write_dense(work: Workload, plan: ProductPlan, target: TargetSpec) -> Any:
    """Write a classifier, whose sums leave as float32: data, weights, out (N, O)."""
    machine, lanes = instructions_of(target), instructions_of(target).lanes
    outputs = work.out_channels

    def body(data: Any, weight: Any, out: Any, **others: Any) -> None:
        epilogue = Epilogue(work, machine, others, work.limits, floats=True)
        groups = -(-work.out_blocks // plan.blocks)
        with units(plan.units, parallel=plan.parallel) as unit:
            group, image = unit % groups, unit // groups
            block = first_block(work, plan, group)
            sums = Sums(machine, weight, 1, block, plan.blocks)
            over_channels(
                sums, work.depth, lambda _, kb, four: dword(data, (image, kb, 0, 4 * four), lanes)
            )
            kept = scratch("kept", (plan.blocks * 16,), "float32")
            sums.leave(epilogue, kept, lambda _, ob: [(ob - block) * 16])
            with ir.serial(0, tirx.min(plan.blocks * 16, outputs - block * 16)) as i:
                store(out, (image, block * 16 + i), kept[i])

    parameters: dict[str, tuple[Shape, str]] = {
        "data": ((work.batch, work.in_blocks, 1, 16), work.dtype),
        **weight_parameters(work, (work.out_blocks, work.depth // 4, 16, 4)),
        "out": ((work.batch, outputs), "float32"),
    }
    return kernel(work, parameters, body)


def write_conv(work: Workload, plan: ProductPlan, target: TargetSpec) -> Any:
    """Write a full convolution: data, weights, perhaps a table, out; of an image also plain.

    Threads share rows. Each copies those that its windows touch, with their borders: of an
    image of four bytes a pixel that is little, and every window is alike afterwards.
    """
    machine = instructions_of(target)
    (rows, width), stride = work.out_size, work.strides
    rows //= plan.chunks
    fours = work.depth // 4
    taps = [(r, q) for r in range(work.kernel[0]) for q in range(work.kernel[1])]
    floats = work.out_dtype == "float32"

    def body(data: Any, weight: Any, out: Any, **others: Any) -> None:
        epilogue = Epilogue(work, machine, others, work.limits, floats=floats)
        read, tiles = rows_of(work, rows), plan.tiles(width)
        groups = -(-work.out_blocks // plan.blocks)

        def write_tile(place: tuple[Any, Any], window: Any, y: Any, group: Any, tile: Any) -> None:
            image, chunk = place
            block = first_block(work, plan, group)
            first = tirx.min(tile * plan.pixels, width - plan.pixels)
            sums = Sums(machine, weight, plan.pixels, block, plan.blocks)
            for number, (r, q) in enumerate(taps):

                def inputs(pixel: int, kb: Any, four: int, r: int = r, q: int = q) -> Any:
                    at = (kb, y * stride[0] + r, (first + pixel) * stride[1] + q, 4 * four)
                    return dword(window, at, machine.lanes)

                over_channels(sums, work.depth, inputs, number * fours)
            begin = (chunk * rows + y) * width + first
            sums.leave(epilogue, out, lambda pixel, ob: [image, ob, begin + pixel, 0])

        with units(plan.units, parallel=plan.parallel) as unit:
            chunk, image = unit % plan.chunks, unit // plan.chunks
            shape = (work.in_blocks, read, columns_of(work), work.in_block)
            window = scratch("window", shape, work.dtype)
            above = chunk * rows * stride[0] - work.padding[0]
            if work.border:
                copy_pixels(work, machine, data, image, above, read, window)
            else:
                with ir.serial(0, work.in_blocks) as kb:
                    copy_rows(work, data, (image, kb), above, read, window, (kb,))
            loops = ir.serial(0, rows), ir.serial(0, groups), ir.serial(0, tiles)
            with loops[0] as y, loops[1] as group, loops[2] as tile, ir.sblock("tile"):
                write_tile((image, chunk), window, y, group, tile)

    shape = (work.batch, work.out_blocks, work.out_pixels, 16)
    blocks = (work.batch, work.in_blocks, work.in_pixels, work.in_block)
    plain = (work.batch, work.in_channels, *work.in_size)
    parameters: dict[str, tuple[Shape, str]] = {
        "data": (plain, "uint8") if work.border else (blocks, work.dtype),
        **weight_parameters(work, (work.out_blocks, len(taps) * fours, 16, 4)),
        "out": (shape, work.out_dtype or work.dtype),
    }
    return kernel(work, parameters, body)
