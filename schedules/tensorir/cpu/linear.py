"""Rows of tokens times weights: the micro-kernel of a pointwise layer on a plain matrix.

Pattern
    ``accumulate(n, j; k)`` into ``out(n, j)``, operator "linear", whose loops are written anew.

Loop nest, outer to inner
    (chunk of rows, group of columns) on threads → tiles of rows in the chunk → steps, four
    written out → rows of the tile → vectors → lanes

Registers
    As :mod:`~tvm_mobilenet.schedules.tensorir.cpu.pointwise`: rows x vectors accumulators, a
    vector of weights for each output vector, broadcasts.

Traffic
    A group's weights (depth x vectors x lanes x 4 bytes) are read again for each tile, the
    chunk's rows for each group; a chunk is at most half of L2.

Bound
    Multiply-add throughput.

What lost
    The classifier's loops, three rows by eight vectors: 128 bytes of weights a row and step
    come from L2. Masks where columns end: the last vector overlaps the one before it.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.rows_of_products import RowsPlan
from tvm_mobilenet.schedules.tensorir.cpu.integer.writing import kernel, load, units
from tvm_mobilenet.schedules.tensorir.cpu.register_tile import product
from tvm_mobilenet.schedules.tensorir.definition import Stages, Value

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload


def write_linear(func: Any, work: Workload, plan: RowsPlan, _target: TargetSpec) -> Any:
    """Write it; its epilogue is the definition's."""
    stages, tile, width = Stages(func), plan.tile, work.out_block
    parameters = {name: (shape, stages.dtypes[name]) for name, shape in stages.inputs.items()}

    def body(data: Any, weight: Any, bias: Any, out: Any, residual: Any = None) -> None:
        def leave(sums: Any, first: Any, group: Any) -> None:
            for i in range(tile.pixels):
                for v in range(tile.vectors):
                    row, block = first + i, group + v
                    begin = tirx.min(block * width, work.out_channels - width)
                    with ir.vectorized(0, width) as c:
                        feed: dict[str, Value] = {
                            "accumulate": lambda *_, at=(i, v), c=c: sums.buffer(at)[c],
                            "bias": lambda *_, block=block, c=c: bias[block, c],
                            "residual": lambda *at: residual[at],
                        }
                        at = (row, begin + c)
                        ir.buffer_store(out, stages.value("out", at, feed), at)

        with units(plan.units, parallel=plan.parallel) as unit:
            chunk, number = unit // plan.groups, unit % plan.groups
            group = tirx.min(number * tile.vectors, work.out_blocks - tile.vectors)
            with ir.serial(0, plan.tiles) as step, ir.sblock("tile"):
                at = (chunk * plan.tiles + step) * tile.pixels
                first = tirx.min(at, work.batch - tile.pixels)
                sums = product(
                    tile,
                    width,
                    work.in_channels,
                    lambda i, k: data[first + i, k],
                    lambda v, k: load(weight, (group + v, k, 0), width),
                )
                leave(sums, first, group)

    return kernel(work, parameters, body)
