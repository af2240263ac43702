"""Maps from blocks to channels last, or from there into blocks.

Pattern
    Operators "to_nhwc" and "from_nhwc", whose loops are written anew.

Loop nest, outer to inner
    (n, group of pixels) on threads → pixels → channel blocks → lanes

Registers
    One vector: channels that lie side by side in a block do so in the other layout too. The last
    block's are as many vectors as its channels need, of 8, 4, 2 and 1.

Bound
    The bandwidth of the level that the map is in.

What lost
    A change to NCHW, and TVM's transposition behind it: 660 us at 64 x 112 x 112 on one Zen 4 core.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.maps import SharedPlan
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import kernel, load, store, units

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import Workload


def write_axes(work: Workload, plan: SharedPlan, _target: TargetSpec) -> Any:
    """Write the kernel."""
    out_of = OPERATORS[work.operator].writes_plain
    (height, width), channels, block = work.in_size, work.in_channels, work.in_block
    blocked = (work.batch, work.in_blocks, work.in_pixels, block)
    plain = (work.batch, height, width, channels)
    before, after = (blocked, plain) if out_of else (plain, blocked)

    def body(data: Any, out: Any) -> None:
        with units(work.batch * height, parallel=plan.parallel) as unit, ir.serial(0, width) as x:
            image, row = unit // height, unit % height

            def part(o: Any, lane: int, lanes: int) -> None:
                inside = (image, o, row * width + x, lane)
                beside = (image, row, x, o * block + lane)
                if out_of:
                    store(out, beside, load(data, inside, lanes))
                else:
                    store(out, inside, load(data, beside, lanes))

            last = work.in_blocks - 1
            with ir.serial(0, last) as o:
                part(o, 0, block)
            for lane, lanes in _powers(channels - last * block, 0):
                part(last, lane, lanes)
            if not out_of:
                for lane, lanes in _powers(block, channels - last * block):
                    store(out, (image, last, row * width + x, lane), _zeros(lanes))

    return kernel(work, {"data": (before, "float32"), "out": (after, "float32")}, body)


def _zeros(lanes: int) -> Any:
    zero = tirx.const(0.0, "float32")
    return tirx.Broadcast(zero, lanes) if lanes > 1 else zero


def _powers(end: int, at: int) -> list[tuple[int, int]]:
    """Cut lanes from `at` to `end` into vectors of powers of two: (first lane, lanes) of each."""
    found = []
    while at < end:
        lanes = 1 << ((end - at).bit_length() - 1)
        found.append((at, lanes))
        at += lanes
    return found
