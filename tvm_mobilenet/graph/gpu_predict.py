"""Each operator on a GPU as its schedule's rule launches it: grid, arithmetic, bytes.

Follows ``schedules/gpu``; a change there is a change here. How much of a unit's peak an
innermost loop reaches is counted from its instructions, never measured: no GPU was at hand.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from tvm_mobilenet.compute.workload import Workload
from tvm_mobilenet.graph.around import Around, blocked_in, blocked_out, map_bytes, weight_bytes
from tvm_mobilenet.graph.cost import Cost
from tvm_mobilenet.graph.gpu_cost import Grid, Load, gpu_cost
from tvm_mobilenet.target import TargetSpec
from tvm_mobilenet.target.gpu import ITEM_BYTES, LANE_BYTES, GpuSpec

_THREADS = 128
"""Threads of a block where blocks have nothing in common."""

_TAPS_SHARE = 0.25
"""Of a unit's peak in a filter of one channel: a load of 16 bytes, which takes a warp four
clocks of the path to L1, for every four multiply-adds."""

_MATRIX_SHARE = 0.5
"""Of tensor cores' peak through wmma and shared memory. On an H100 mma reaches 63% of the
peak, which only wgmma does (Luo et al., arXiv 2402.13499)."""

_KEPT = 32
"""Registers of a thread besides accumulators and operands: addresses, counters, staging."""

_STEP = 16
"""Channels that a block stages in shared memory at a time, twice."""


def gpu_predict(work: Workload, target: TargetSpec, around: Around) -> Cost:
    """Predict a kernel inside a network on a GPU.

    Parameters
    ----------
    work : Workload
        Of any operator but ``"tail"`` and ``"strassen"``.
    target : TargetSpec
        With a `gpu`.
    around : Around

    Returns
    -------
    Cost
        In clocks of the GPU.
    """
    assert target.gpu is not None
    kernel = _Kernel(work, target.gpu, around)
    options = {
        "conv": kernel.conv,
        "depthwise": kernel.depthwise,
        "pointwise": kernel.products,
        "separable": kernel.products,
        "pool": kernel.plain,
        "scale": kernel.plain,
        "dense": kernel.products,
        "softmax": kernel.plain,
    }[work.operator]()
    half = work.dtype == "float16"
    costs = [gpu_cost(work.macs, grid, load, target.gpu, half=half) for grid, load in options]
    return min(costs, key=lambda cost: cost.cycles)


class _Kernel:
    """One kernel; each method lists what could be launched for it."""

    def __init__(self, work: Workload, gpu: GpuSpec, around: Around) -> None:
        self.work, self.gpu = work, gpu
        self.item = ITEM_BYTES[work.dtype]
        self.lanes = LANE_BYTES // self.item
        # What one run touches comes back from L2 if all of it fits there.
        self.cold = around.weights + 2 * max(around.values) > gpu.l2_bytes
        source = sum(around.values[max(around.at - 1, 0) : around.at + 1])
        self.far = self.cold if around.at == 0 else source > gpu.l2_bytes
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

    def depthwise(self) -> Iterator[tuple[Grid, Load]]:
        work = self.work
        threads = self._each()
        macs = float(threads * self.lanes * math.prod(work.kernel))
        # Rows that two blocks share come twice.
        again = 1 + (work.kernel[0] - work.strides[0]) / 8 if work.kernel[0] > 1 else 1.0
        l2 = self.read * max(again, 1.0) + self.weights + self.written
        grid = Grid(-(-threads // _THREADS), _THREADS, 40)
        share = _TAPS_SHARE * (4 // self.item)  # halves are half the bytes
        yield grid, self._load(macs, share, l2, flight=3 * LANE_BYTES)

    def plain(self) -> Iterator[tuple[Grid, Load]]:
        work = self.work
        threads = self._each()
        grid = Grid(-(-threads // _THREADS), _THREADS)
        # A pool's threads read one pixel after the other.
        flight = LANE_BYTES * min(work.in_pixels // max(work.out_pixels, 1), 4)
        macs = float(max(work.macs, work.batch * blocked_in(work) * work.in_pixels))
        yield grid, self._load(macs, 0.25, self.read + self.written, flight=max(flight, 16))

    def products(self) -> Iterator[tuple[Grid, Load]]:
        """Yield tiles of a matrix product: pixels of an image by output channels."""
        work = self.work
        images, pixels = work.batch, work.out_pixels
        if pixels == 1:  # one matrix of all images
            images, pixels = 1, work.batch
        fused = work.operator == "separable"
        half = work.dtype == "float16" and self.gpu.tensor_macs > 0
        for pixel_tile, channel_tile in itertools.product((8, 16, 32, 64, 128), (16, 32, 64, 128)):
            if pixel_tile >= 2 * pixels and pixel_tile > 8:
                continue
            for splits in (1, 2, 4, 8):
                if not fused or splits == 1:
                    yield self._product(images, pixels, pixel_tile, channel_tile, splits, False)
            if half and pixel_tile >= 16 and channel_tile >= 32:
                yield self._product(images, pixels, pixel_tile, channel_tile, 1, True)

    def _product(  # noqa: PLR0917  a tile and how it is computed
        self, images: int, pixels: int, rows: int, columns: int, splits: int, matrix: bool
    ) -> tuple[Grid, Load]:
        work = self.work
        depth, channels = blocked_in(work), blocked_out(work)
        across, down = -(-channels // columns), images * -(-pixels // rows)
        own = min(max(rows * columns // 64, 4), 64)  # accumulators of a thread
        threads = rows * columns // own * splits
        if matrix:
            threads = max(rows * columns // 1024, 1) * 32 * splits
            own = rows * columns // threads
        threads = max(threads, 32)
        registers = own + 2 * int(math.sqrt(own)) + _KEPT
        shared = 2 * _STEP * (rows + columns) * self.item * splits
        tall = math.sqrt(own)
        share = _MATRIX_SHARE if matrix else own / (own + 2 * tall + 1)
        macs = float(down * rows * across * columns * depth)
        read = self.read / (images * pixels) * down * rows if work.batch else 0.0
        if work.operator == "separable":
            # A depthwise result for each pixel and channel, again for each column of blocks.
            taps = math.prod(work.kernel)
            filtered = float(down * rows * depth * taps * across)
            # In units of the product's speed: the filter runs where float32 does.
            speed = self.gpu.tensor_macs if matrix else self.gpu.fp32_macs
            macs += filtered * share / _TAPS_SHARE * speed / self.gpu.fp32_macs
            height = max(rows // work.out_size[1], 1)
            read *= 1 + max(work.kernel[0] - work.strides[0], 0) / (height * work.strides[0])
        l2 = read * across + self.weights * down + self.written
        grid = Grid(down * across, min(threads, self.gpu.block_threads), registers, shared)
        chains = own // 256 or 1 if matrix else own
        return grid, self._load(macs, share, l2, matrix=matrix, chains=chains, flight=64)
