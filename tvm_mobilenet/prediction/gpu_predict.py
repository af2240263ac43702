"""Each operator on a GPU as its schedule's rule launches it: grid, arithmetic, bytes.

Follows ``schedules/tensorir/gpu``; a change there is a change here. How much of a unit's peak an
innermost loop reaches is counted from its instructions, never measured: no GPU was at hand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from tvm_mobilenet.machine import ITEM_BYTES, TargetSpec
from tvm_mobilenet.machine.gpu import LANE_BYTES
from tvm_mobilenet.operators.facts import by_loops
from tvm_mobilenet.operators.footprint import blocked_in, blocked_out, map_bytes, weight_bytes
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.prediction.cache_context import CacheContext
from tvm_mobilenet.prediction.cost import Cost
from tvm_mobilenet.prediction.gpu_cost import Grid, Load, gpu_cost
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans import GPU_PLANS, plan
from tvm_mobilenet.schedules.plans.gpu.product_cycles import (
    MEMORY_CYCLES,
    best_tile,
    product_cycles,
)
from tvm_mobilenet.schedules.plans.gpu.product_tile import ProductTile, Sizes
from tvm_mobilenet.schedules.plans.gpu.tensor_tile import (
    TensorTile,
    best_tensor_tile,
    takes,
    tensor_cycles,
)

_THREADS = 128
"""Threads of a block where blocks have nothing in common."""

_TAPS_SHARE = 0.25
"""Share of a unit's peak in a filter of one channel: a load of 16 bytes, which takes a warp four
clocks of the path to L1, for every four multiply-adds."""


def gpu_predict(work: Workload, target: TargetSpec, context: CacheContext) -> Cost:
    """Predict a kernel inside a network on a GPU.

    Parameters
    ----------
    work : Workload
        The kernel, of any operator but ``"tail"``.
    target : TargetSpec
        The GPU's.
    context : CacheContext
        The network around it, in bytes.

    Returns
    -------
    Cost
        In clocks of the GPU.
    """
    options = _LAUNCHES[work.operator](_Kernel(work, target, context))
    half = work.dtype == "float16"
    costs = [gpu_cost(work.macs, grid, load, target.the_gpu, half=half) for grid, load in options]
    return min(costs, key=lambda cost: cost.cycles)


def predicted_us(
    works: Sequence[Workload | None], target: TargetSpec, image: int
) -> list[float | None]:
    """Predict every kernel of a network, in the order of execution.

    Parameters
    ----------
    works : sequence of Workload or None
        None for a kernel that is not ours, and whose bytes are not counted.
    target : TargetSpec
        The GPU's.
    image : int
        Bytes of the input.

    Returns
    -------
    list of float or None
        Microseconds.
    """
    values = (image, *(map_bytes(work) if work else 0 for work in works))
    weights = sum(weight_bytes(work) for work in works if work)
    found: list[float | None] = []
    for at, work in enumerate(works):
        cycles = (
            gpu_predict(work, target, CacheContext(weights, values, at)).cycles if work else None
        )
        found.append(None if cycles is None else cycles / target.the_gpu.clock_mhz)
    return found


class _Kernel:
    """One kernel; each method lists what could be launched for it."""

    def __init__(self, work: Workload, target: TargetSpec, context: CacheContext) -> None:
        self.work, self.target, self.gpu = work, target, target.the_gpu
        gpu = self.gpu
        self.item = ITEM_BYTES[work.dtype]
        self.lanes = LANE_BYTES // self.item
        # What one run touches comes back from L2 if all of it fits there.
        self.cold = context.weights + 2 * max(context.values) > gpu.l2_bytes
        source = sum(context.values[max(context.at - 1, 0) : context.at + 1])
        self.far = self.cold if context.at == 0 else source > gpu.l2_bytes
        self.read = self.item * work.batch * blocked_in(work) * work.in_pixels
        self.written = map_bytes(work) * (2 if work.residual else 1)
        self.weights = weight_bytes(work)
        self.memory = (
            (self.weights if self.cold else 0)
            + (self.read if self.far else 0)
            + (self.written if self.written > gpu.l2_bytes else 0)
        )

    def _load(self, macs: float, share: float, l2: float, **how: Any) -> Load:
        cold = self.cold or self.far
        return Load(macs, share, max(l2, self.memory), self.memory, cold=cold, **how)

    def _each(self) -> int:
        """Return the vectors of the output, one for each thread."""
        work = self.work
        return work.batch * work.out_pixels * max(blocked_out(work) // self.lanes, 1)

    def conv(self) -> Iterator[tuple[Grid, Load]]:
        work = self.work
        taps = math.prod(work.kernel) * work.in_channels
        threads = self._each()
        grid = Grid(-(-threads // _THREADS), _THREADS, 40)
        macs = float(threads * self.lanes * taps)
        # The image comes again for each block of channels; L1 has what taps share.
        l2 = self.read * work.out_blocks + self.weights + self.written
        yield grid, self._load(macs, 0.4, l2)

    def windows(self) -> Iterator[tuple[Grid, Load]]:
        """Yield a convolution on blocks, transposed perhaps: as many strips, phases in a thread."""
        work = self.work
        made = plan(work, Knobs(), self.target, GPU_PLANS)
        places = math.prod(
            -(-size // phase) for size, phase in zip(work.out_size, made.phases, strict=True)
        )
        groups = work.out_blocks // made.blocks
        threads = work.batch * -(-places // made.rows) * groups
        grid = Grid(-(-threads // made.threads), made.threads, made.registers)
        # Groups of output blocks read the same channels again, but where those are a group's.
        l2 = self.read * max(groups // work.groups, 1) + self.weights + self.written
        yield grid, self._load(float(work.macs), 0.5, l2)

    def depthwise(self) -> Iterator[tuple[Grid, Load]]:
        work = self.work
        threads = self._each()
        macs = float(threads * self.lanes * math.prod(work.kernel))
        # Rows that two blocks share come twice.
        again = 1 + (work.kernel[0] - work.strides[0]) / 8 if work.kernel[0] > 1 else 1.0
        l2 = self.read * max(again, 1.0) + self.weights + self.written
        grid = Grid(-(-threads // _THREADS), _THREADS, 40)
        share = _TAPS_SHARE * (ITEM_BYTES["float32"] // self.item)  # halves are half the bytes
        yield grid, self._load(macs, share, l2, flight=3 * LANE_BYTES)

    def plain(self) -> Iterator[tuple[Grid, Load]]:
        work = self.work
        # A pool's pixels are shared out among some threads; what repeats pixels has fewer of them.
        pooled = max(work.in_pixels // work.out_pixels, 1)
        together = min(pooled, 8)
        threads = self._each() * together
        grid = Grid(-(-threads // _THREADS), _THREADS)
        macs = float(max(work.macs, work.batch * blocked_in(work) * work.in_pixels))
        flight = LANE_BYTES * min(-(-pooled // together), 4)
        yield grid, self._load(macs, 0.25, self.read + self.written, flight=flight)

    def products(self) -> Iterator[tuple[Grid, Load]]:
        """Yield the best tile of a matrix product, of the sizes that it is planned with.

        The plan's own tile may be another one: its questions, asked one after the other, do
        not always let it say the best.
        """
        gpu = self.gpu
        sizes: Sizes = plan(self.work, Knobs(), self.target, GPU_PLANS).sizes
        by_threads = best_tile(sizes, gpu)
        busy = product_cycles(by_threads, sizes, gpu)
        tile: ProductTile | TensorTile = by_threads
        if takes(sizes, self.work.dtype, gpu):
            by_tensors = best_tensor_tile(sizes, gpu)
            if (other := tensor_cycles(by_tensors, sizes, gpu)) < busy:
                tile, busy = by_tensors, other
        down, across = -(-sizes.rows // tile.rows), -(-sizes.vectors // tile.vectors)
        rows, vectors = min(tile.rows, sizes.rows), min(tile.vectors, sizes.vectors)
        own = sizes.blocks * sizes.block * self.item  # bytes of a row
        read = float(down * rows * own)
        if sizes.taps:
            read *= self._halo(rows) * self.work.in_pixels / self.work.out_pixels
        l2 = read * across + down * across * vectors * sizes.lanes * own + self.written
        macs = down * tile.rows * across * tile.vectors * sizes.lanes * sizes.blocks * sizes.block
        taken = tile.registers(sizes), tile.shared_bytes(sizes)
        grid = Grid(down * across, tile.threads, *taken)
        # Its first and last load are in the rule's reckoning; here they are a part of their own.
        busy = max(busy - 2 * MEMORY_CYCLES, 1.0)
        yield grid, self._load(float(macs), 1.0, l2, flight=4 * LANE_BYTES, busy=busy)

    def _halo(self, rows: int) -> float:
        """Return how often a block's input rows are read, for a filter over some pixels."""
        work = self.work
        height = max(rows / work.out_size[1], 1.0)
        return 1 + max(work.kernel[0] - work.strides[0], 0) / (height * work.strides[0])


_LAUNCHES = by_loops(
    {
        "conv": _Kernel.conv,
        "conv_blocked": _Kernel.windows,
        "conv_transpose": _Kernel.windows,
        "depthwise": _Kernel.depthwise,
        "elements": _Kernel.plain,
        "max_pool": _Kernel.depthwise,
        "moves": _Kernel.plain,
        "pointwise": _Kernel.products,
        "separable": _Kernel.products,
        "pool": _Kernel.plain,
        "rows": _Kernel.plain,
        "scale": _Kernel.plain,
        "dense": _Kernel.products,
    }
)
"""By operator, what could be launched for it."""
