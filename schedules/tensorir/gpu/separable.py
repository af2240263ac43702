"""Depthwise-separable block on a GPU: the map between its convolutions stays in shared memory.

Pattern
    ``padded`` into ``filtered(n, k, p, c; r, q)`` into ``mid(n, k, p, c)`` into
    ``accumulate(n, o, p, c; k)`` into ``out(n, o, p, c)``, operator "separable".

Loop nest, outer to inner
    That of a pointwise layer (``product``, or
    ``tensor_product``), except for what a step of K puts into
    shared memory: each thread computes its vectors of the middle map from the input, taps
    unrolled, by a window of 16-byte loads that neighbouring threads share in L1. Nothing is
    prefetched, because these values need their loads at once.

Registers
    Those of the pointwise layer; the window's vectors are dead before the products.

Traffic
    The middle map never goes to memory, which saves a write, a read and a launch. Every
    tile of output channels computes the middle map of its pixels again: at 56 x 56 x 128 and
    tiles of 64 channels that is twice 9 multiply-adds where the products are 128. The rule
    counts them, and so chooses tiles of more channels and fewer pixels than for a pointwise
    layer.

Bound
    The larger of the multiply-adds of both layers and their bytes. No time has been measured
    on a GPU.

What lost, on paper
    All of K in shared memory before the products: each middle value would be computed once for
    all channels, but 512 channels of 32 pixels are 64 KB, more than a block may have, and units
    would wait for them with nothing to multiply.
"""

from __future__ import annotations

from typing import Any

from tvm.script.ir_builder import tirx as ir
from tvm_mobilenet.schedules.plans.gpu.products import ProductPlan
from tvm_mobilenet.schedules.tensorir.definition import Stages, Value
from tvm_mobilenet.schedules.tensorir.gpu.pointwise import Pointwise
from tvm_mobilenet.schedules.tensorir.gpu.product_steps import Lane
from tvm_mobilenet.schedules.tensorir.gpu.stages import allocated, copy, fetched
from tvm_mobilenet.schedules.tensorir.gpu.tensor_product import write_product

from tvm_mobilenet.machine import TargetSpec


class Separable(Pointwise):
    """Operands of a separable block: its data are the depthwise layer's output."""

    def data(self, block: Any, row: Any) -> Lane:
        """Compute a channel block of a pixel of the middle map, into registers."""
        lanes = self.stages.inputs["data"][3]
        sums = allocated("sums", (lanes,), "float32", "local")
        with ir.unroll(0, lanes) as c:
            ir.buffer_store(sums, ir.float32(0), [c])
        at = (row // self.pixels, block, row % self.pixels)
        rows, columns = self.stages.extents("filtered")[-2:]
        with ir.unroll(0, rows) as r, ir.unroll(0, columns) as q:
            self._tap(at, (r, q), sums)
        middle = allocated("middle", (lanes,), self.stages.dtypes["data"], "local")
        feed: dict[str, Value] = {"filtered": lambda *at: sums[at[-1]]}
        feed["filter_bias"] = fetched(self.buffers["filter_bias"], (block,), lanes)
        with ir.unroll(0, lanes) as c:
            ir.buffer_store(middle, self.stages.value("mid", (*at, c), feed), [c])
        return lambda c: middle[c]

    def _tap(self, at: tuple[Any, ...], tap: tuple[Any, Any], sums: Any) -> None:
        """Add one tap's products to a vector's sums."""
        stages, lanes = self.stages, self.stages.inputs["data"][3]
        places: dict[str, tuple[Any, ...]] = {}

        def noted(name: str) -> Value:
            def note(*at: Any) -> Any:
                places[name] = at
                return ir.float32(0)

            return note

        # Where the definition reads, but for the lane: that is loaded as a vector.
        reads = {name: noted(name) for name in ("filtered", "padded", "filter")}
        stages.value("filtered", (*at, 0, *tap), reads)
        pixel, place = places["padded"][:-1], places["filter"][:-1]
        data, taps = self.buffers["data"], self.buffers["filter"]
        dtype = stages.dtypes["data"]
        window = allocated("window", (lanes,), dtype, "local")
        weight = allocated("weight", (lanes,), dtype, "local")
        source: dict[str, Value] = {"data": lambda *at: data[at]}
        copy(window, (), lanes, lambda c: stages.value("padded", (*pixel, c), source))
        copy(weight, (), lanes, lambda c: taps[(*place, c)])
        feed: dict[str, Value] = {
            "filtered": lambda *at: sums[at[-1]],
            "padded": lambda *at: window[at[-1]],
            "filter": lambda *at: weight[at[-1]],
        }
        with ir.unroll(0, lanes) as c:
            ir.buffer_store(sums, stages.value("filtered", (*at, c, *tap), feed), [c])


def write_separable(func: Any, plan: ProductPlan, target: TargetSpec) -> Any:
    """Write the loops of a depthwise-separable block from its unscheduled definition.

    Its buffers are data (N, Kb, H*W, c), filter (Kb, KH*KW, c), filter_bias (Kb, c), weight
    (Ob, K, c), bias (Ob, c), perhaps residual, and out (N, Ob, P, c).
    """
    return write_product(Stages(func), plan, Separable, target.the_gpu)
