"""Pointwise (1 x 1) convolution on a GPU: a matrix product over the pixels of all images.

Pattern
    ``accumulate(n, o, p, c; k)`` into ``out(n, o, p, c)``, operator "pointwise". Sizes and
    epilogue are read off the definition; the loops are
    :mod:`~tvm_mobilenet.schedules.tensorir.gpu.product`'s, which says why they are written.

Loop nest, outer to inner
    (tile of pixels, tile of channel vectors) are blocks → (slice of K, vector, pixel) are
    threads → steps of K through shared memory → channel block → channel → vectors, pixels,
    lanes of the thread, unrolled. Neighbouring threads take neighbouring pixels of a channel
    block: 16 bytes each, loads and stores are coalesced.

Registers
    ``pixels x vectors x lanes`` sums, a block of each pixel, a vector of weights for each
    vector, and what is prefetched: 6 x 2 x 4 + 6 x 4 + 2 x 4 + 5 x 4. nvcc takes up to half as
    much again (:meth:`ProductTile.registers`); the rule stays below 208 of 255, without spills.

Traffic
    A block of threads reads a step's pixels and weights once from L2: 4 multiply-adds
    a byte at 48 pixels x 16 vectors. From shared memory it is 16 multiply-adds for each
    16-byte load.

Bound
    Multiply-adds. No time has been measured on a GPU. In nvcc's code over 85% of the
    instructions in the loop are multiply-adds (tests/gpu), and all loads are of 128 bits.

What lost, on paper
    Transforming the definition's loops (docs/adr/0017-gpu-matrix-products.md). Large tiles
    only: 7 x 7 pixels of one image occupy a tenth of 132 units, while small tiles with slices
    of K read each weight from L2 more often, but give all units work. A second kernel that adds
    up slices of K: its launch takes as long as the layer.
"""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.plans.gpu.products import ProductPlan
from tvm_mobilenet.schedules.tensorir.definition import Stages, Value
from tvm_mobilenet.schedules.tensorir.gpu.product_steps import Lane
from tvm_mobilenet.schedules.tensorir.gpu.stages import fetched, leave
from tvm_mobilenet.schedules.tensorir.gpu.tensor_product import write_product

from tvm_mobilenet.machine import TargetSpec


class Pointwise:
    """Operands of a pointwise convolution: rows are the pixels of all images."""

    def __init__(self, stages: Stages, buffers: dict[str, Any]) -> None:
        self.stages, self.buffers = stages, buffers
        self.pixels, self.lanes = stages.inputs["out"][2:]

    def data(self, block: Any, row: Any) -> Lane:
        """Return a channel block of a pixel."""
        data = self.buffers["data"]
        return lambda c: data[row // self.pixels, block, row % self.pixels, c]

    def weight(self, vector: Any, k: Any) -> Lane:
        """Return a vector of weights, of input channel k."""
        weight = self.buffers["weight"]
        return lambda c: weight[vector, k, c]

    def store(self, row: Any, vector: Any, sums: Lane) -> None:
        """Write a vector of the output: bias, residual, activation."""
        at = (row // self.pixels, vector, row % self.pixels)
        feed: dict[str, Value] = {"accumulate": lambda n, o, p, c: sums(c)}
        for name, place in (("bias", (vector,)), ("residual", at)):
            if name in self.buffers:
                feed[name] = fetched(self.buffers[name], place, self.lanes)
        leave(self.stages, "out", self.buffers["out"], at, self.lanes, feed)


def write_pointwise(func: Any, plan: ProductPlan, target: TargetSpec) -> Any:
    """Write the loops of a pointwise convolution from its unscheduled definition.

    Its buffers are data (N, Kb, P, c), weight (Ob, K, c), bias (Ob, c), perhaps residual, and
    out (N, Ob, P, c).
    """
    return write_product(Stages(func), plan, Pointwise, target.the_gpu)
