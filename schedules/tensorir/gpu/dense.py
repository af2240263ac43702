"""Classifier on a GPU: a matrix product with a row for each image; at batch 1 weights stream.

Pattern
    ``accumulate(n, o, c; k)`` into ``out(n, j)``, operator "dense". The loops are
    :mod:`~tvm_mobilenet.schedules.tensorir.gpu.product`'s.

Loop nest, outer to inner
    Batch 1: vectors of classes are blocks → (slice of K, vector) are threads → steps of K →
    channel block → channel → lanes, from memory to registers; slices are added up through
    shared memory. Neighbouring threads take neighbouring vectors of the definition's block
    of classes, which lie side by side for each channel, then neighbouring channels: a warp
    reads 512 bytes in a row. Batches: as a pointwise layer, whose pixels are images.

Registers
    One vector of sums, one of weights, a block of the input: about 40 of 255, so that a
    unit holds as many threads as it can, and as many loads are in flight.

Traffic
    Every weight is read once, 4 MB at 1024 x 1000 (2 MB in float16); every block reads the
    input, 4 KB.

Bound
    The weights, at the bandwidth of L2, which keeps them between calls, or of memory. No time
    has been measured on a GPU.

What lost, on paper
    A thread for each class over all of K: 1000 threads are less than a tenth of what keeps a
    memory of 3 TB/s busy. Staging weights in shared memory: each is used only once.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.gpu.products import ProductPlan
from tvm_mobilenet.schedules.tensorir.definition import Stages, Value
from tvm_mobilenet.schedules.tensorir.gpu.product_steps import Lane
from tvm_mobilenet.schedules.tensorir.gpu.stages import allocated, copy
from tvm_mobilenet.schedules.tensorir.gpu.tensor_product import write_product

from tvm_mobilenet.machine import TargetSpec


class Dense:
    """Operands of a classifier: rows are images, `lanes` the classes of a vector."""

    def __init__(self, stages: Stages, buffers: dict[str, Any], lanes: int) -> None:
        self.stages, self.buffers, self.lanes = stages, buffers, lanes
        self.side = stages.inputs["weight"][2] // lanes
        self.classes = stages.inputs["out"][1]

    def data(self, block: Any, row: Any) -> Lane:
        """Return a channel block of an image."""
        data = self.buffers["data"]
        return lambda c: data[row, block, 0, c]

    def weight(self, vector: Any, k: Any) -> Lane:
        """Return the weights of a vector of classes, of input channel k."""
        weight = self.buffers["weight"]
        return lambda c: weight[vector // self.side, k, vector % self.side * self.lanes + c]

    def store(self, row: Any, vector: Any, sums: Lane) -> None:
        """Write a vector of classes; one by one where rows do not begin on a vector."""
        bias, out = self.buffers["bias"], self.buffers["out"]
        first = vector % self.side * self.lanes
        added = allocated("added", (self.lanes,), "float32", "local")
        copy(added, (), self.lanes, lambda c: bias[vector // self.side, first + c])
        result = allocated("result", (self.lanes,), "float32", "local")
        whole = self.classes % self.lanes == 0
        with ir.unroll(0, self.lanes) as c:
            feed: dict[str, Value] = {"accumulate": lambda *_: sums(c), "bias": lambda *_: added[c]}
            at = (row, vector * self.lanes + c)
            value = self.stages.value("out", at, feed)
            if whole:
                ir.buffer_store(result, value, [c])
            else:
                with ir.If(at[1] < self.classes), ir.Then():
                    ir.buffer_store(out, value, at)
        if whole:
            begin = vector * self.lanes
            # `copy` writes at [*at, c]; the class is one index with what comes before.
            for half in range(0, self.lanes, 4):
                width = min(4, self.lanes - half)
                with ir.vectorized(0, width) as c:
                    ir.buffer_store(out, result[half + c], [row, begin + half + c])


def write_dense(func: Any, plan: ProductPlan, target: TargetSpec) -> Any:
    """Write the loops of a classifier from its unscheduled definition.

    Its buffers are data (N, Kb, 1, c), weight (Ob, K, class block), bias (Ob, class block) and
    out (N, classes).
    """
    return write_product(Stages(func), plan, partial(Dense, lanes=plan.sizes.lanes), target.the_gpu)
