"""Full convolution from NCHW or NHWC: the first layer, 27 steps of a matrix product.

Pattern
    ``padded`` into ``accumulate(n, o, p, c; i, r, q)`` into ``out(n, o, p, c)``,
    operators "conv" and "conv_nhwc".

Loop nest, outer to inner
    (n, row) on threads → vector group → tiles of pixels in the row → input
    channel, tap row, tap column → pixels of the tile → vectors → lanes

Registers
    As the pointwise micro-kernel, and up to one more for each pixel, whose input may
    lie in the border: 8 x 2 + 2 + 8 = 26 of 32 with AVX-512, 4 x 2 + 2 + 4 = 14 of 16 with AVX2.

Traffic
    Weights (3.4 KB) stay in L1, and so do three rows of three channels (8 KB). The
    output, 1.6 MB at 112 x 112 x 32, is written once. The image is the caller's and
    comes from memory: a few of its lines are prefetched at every tile, four output
    rows before they are read (103 µs in MobileNet V1; 197 if a whole row's lines
    are prefetched at once, which fills the miss buffers).

Bound
    Multiply-add throughput: 91 µs at 112 x 112 x 32 on one Zen 5 core, measured
    101 to 104 (88%).

Tails
    The plan chooses a tile that divides the row if there is one. The accumulators of a
    last tile that reaches into the next row do not stay in registers, because TVM then
    sees them as a whole map (96 x 96 x 32: 119 µs with 7 pixels, 73 with 8).

What lost
    Staging padded rows (109 µs); unrolling the taps (spills: LLVM then hoists
    predicates and addresses; 112 to 160 µs); one vector (111 µs and up).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm_mobilenet.schedules.plans.conv import ConvPlan
from tvm_mobilenet.schedules.tensorir.cpu.micro_kernel import (
    keep_in_registers,
    peel_tail,
    share,
    write_back,
)
from tvm_mobilenet.schedules.tensorir.cpu.prefetch import Prefetch

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.machine.arithmetic import line_items
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import Workload


def schedule_conv(sch: Any, work: Workload, plan: ConvPlan, _target: TargetSpec) -> list[Prefetch]:
    """Schedule a full convolution."""
    accumulate, out = sch.get_sblock("accumulate"), sch.get_sblock("out")
    n, o, p, c = sch.get_loops(out)
    row, column = sch.split(p, [plan.rows, plan.width])
    tile_loop, pixel = sch.split(column, [None, plan.tile.pixels])
    group, vector = sch.split(o, [None, plan.tile.vectors])
    sch.reorder(n, row, group, tile_loop, pixel, vector, c)
    units = sch.fuse(n, row)
    sch.compute_at(accumulate, tile_loop, preserve_unit_loops=True)
    vectors, tile_pixels, tile_lanes, i, r, q = sch.get_loops(accumulate)[-6:]
    sch.compute_inline(sch.get_sblock("padded"))
    share(sch, units, parallel=plan.parallel)
    keep_in_registers(sch, accumulate, [i, r, q], [tile_pixels, vectors], tile_lanes)
    write_back(sch, [pixel, vector], c)
    peel_tail(sch, tile_loop)
    return later_rows(work, plan, tile_loop, [units, group, tile_loop])


def later_rows(work: Workload, plan: ConvPlan, at: Any, loops: Sequence[Any]) -> list[Prefetch]:
    """Prefetch, at every tile, some lines of the image, rows before they are read.

    `loops` are (image, row), vector groups and tiles; `at` is the last of them.
    """
    if plan.rows_ahead == 0:
        return []
    (height, in_width), channels = work.in_size, work.in_channels
    stride = max(round(height / plan.rows), 1)
    items = line_items("float32")  # of the image
    # Where channels lie last, a row of all of them is one piece of memory.
    last = OPERATORS[work.operator].channels_last
    planes, length = (1, in_width * channels) if last else (channels, in_width)
    lines = -(-length // (items * plan.tiles))

    def indices(unit: Any, _: Any, at: Any) -> list[tuple[Any, ...]]:
        first = (unit % plan.rows + plan.rows_ahead) * stride
        places = [
            (plane, first + i, (at * lines + line) * items)
            for plane in range(planes)
            for i in range(stride)
            for line in range(lines)
        ]
        if last:
            return [(unit // plan.rows, row, 0, item) for _, row, item in places]
        return [(unit // plan.rows, *place) for place in places]

    return [Prefetch(at, 0, indices, loops)]
