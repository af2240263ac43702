"""Each operator as the cost model sees it: the plan its rule makes, in phases and streams.

Follows the loop nests of ``schedules/cpu``; a change there is a change here. The constants
are shares of the peak that those schedules reach when everything is in L1, measured on Zen 5.
"""

from __future__ import annotations

import dataclasses
import math

from tvm_mobilenet.compute.workload import Workload
from tvm_mobilenet.graph.around import Around, blocked_classes, blocked_in, blocked_out
from tvm_mobilenet.graph.cost import FLOAT, Caches, Cost, Phase, Stream, cost_of
from tvm_mobilenet.graph.gpu_predict import gpu_predict
from tvm_mobilenet.graph.speeds import speeds_of
from tvm_mobilenet.schedules.cpu.row_groups import choose_rows, row_group_tile
from tvm_mobilenet.schedules.cpu.threads import (
    ELEMENT,
    choose_chunks,
    choose_pieces,
    divisors,
    fewest_even,
    pays_to_share,
)
from tvm_mobilenet.schedules.cpu.tile import MAX_PIXELS, Tile, best_tile, chunk_options
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.target import TargetSpec

_CONV = 0.88
"""Of the peak: benchmarks/layers.py, 112 x 112 x 32."""

_DEPTHWISE = {1: 0.8, 2: 0.4}
"""Of the peak, by stride: benchmarks/layers.py, 190 and 95 of 238 GFLOP/s."""

_LATENCY = 4
"""Cycles of a multiply-add that waits for the one before."""

_POWER = 16
"""Vector operations of a softmax for each element: schedules/cpu/softmax.py."""

_ROWS = 18.0
"""Bytes a cycle of the classifier's rows inside a tail, whose eight accumulators are stored
after every 32 channels: 57 to 74 GB/s in V1 from 1.0/224 to 0.25/128."""


def predict(work: Workload, target: TargetSpec, around: Around, threads: int) -> Cost:
    """Predict a kernel inside a network.

    Parameters
    ----------
    work : Workload
        Of any operator.
    target : TargetSpec
        What it is compiled for, with as many cores.
    around : Around
    threads : int
        That run it, at most the target's cores; nothing to a GPU.

    Returns
    -------
    Cost
    """
    if target.gpu is not None:
        return gpu_predict(work, target, around)
    kernel = _Kernel(work, target, around, threads)
    return {
        "conv": kernel.conv,
        "depthwise": kernel.depthwise,
        "pointwise": kernel.pointwise,
        "separable": kernel.separable,
        "tail": kernel.tail,
        "pool": kernel.pool,
        "scale": kernel.scale,
        "dense": kernel.dense,
        "softmax": kernel.softmax,
    }[work.operator]()


class _Kernel:
    """One kernel, for the thread with most to do."""

    def __init__(self, work: Workload, target: TargetSpec, around: Around, threads: int) -> None:
        self.work, self.target, self.around, self.threads = work, target, around, threads
        self.caches, self.speeds = Caches.of(target, threads), speeds_of(target)
        self.lanes, self.peak = target.lanes, target.lanes * self.speeds.pipes
        self.cold = around.cold(self.caches, threads)
        self.source = around.source(self.caches, threads)
        self.inside, self.outside = blocked_in(work), blocked_out(work)
        self.in_bytes = FLOAT * work.batch * self.inside * work.in_pixels
        self.out_bytes = FLOAT * work.batch * self.outside * work.out_pixels

    def _share(self, units: int, macs: float) -> tuple[int, float]:
        """Return the units of the thread with most of them, and all units over these."""
        alone = self.threads == 1 or not pays_to_share(units, int(macs), self.target)
        most = units if alone else -(-units // self.threads)
        return most, units / most

    def _cost(
        self, phases: list[Phase], spread: float, start: float = 0.0, held: float = 0.0
    ) -> Cost:
        first = Stream(start, self.cold) if start else None
        return cost_of(self.work.macs, phases, self.target, self.threads, spread, first, held)

    def _written(self, part: float) -> tuple[Stream, Stream]:
        return self.around.written(self.out_bytes * part, self.caches, self.threads)

    def _residual(self, part: float) -> tuple[Stream, ...]:
        """Return what is added: of the output's size, written three or more kernels ago."""
        if not self.work.residual:
            return ()
        size = self.out_bytes * part
        return (Stream(size, self.caches.found(2 * self.in_bytes * part + size)),)

    def _held(self, spread: float) -> float:
        """Return the output's bytes that lie in other cores' L2, which have just read there."""
        size = self.out_bytes / spread
        near = spread > 1 and self.in_bytes / spread + size <= self.caches.l2
        return size if near else 0.0

    def _vectors(self, block: int) -> float:
        """Return lanes used for one channel: a block narrower than a register takes it all."""
        return -(-block // self.lanes) * self.lanes / block

    def conv(self) -> Cost:
        work = self.work
        taps = math.prod(work.kernel) * work.in_channels
        macs = work.batch * self.outside * work.out_pixels * taps
        _, spread = self._share(work.batch * work.out_size[0], macs)
        part = 1 / spread
        image = FLOAT * work.batch * work.in_channels * work.in_pixels
        streams = (Stream(image * part, self.source), *self._written(part))
        loads = FLOAT * macs * part / work.out_block * 2
        cycles = macs * part * self._vectors(work.out_block) / self.peak / _CONV
        return self._cost([Phase(cycles, loads, streams)], spread)

    def _filter(self, pixels: float, into: float, streams: tuple[Stream, ...]) -> Phase:
        """Return the depthwise part: output pixels, bytes read, and what it writes."""
        work = self.work
        rows, stride = work.kernel[0], work.strides[0]
        line = FLOAT * work.in_size[1] * work.in_block * rows
        macs = pixels * self.inside * math.prod(work.kernel)
        again = max(rows / stride - 1, 0) * into
        read = Stream(into, self.source, ((again, line),))
        speed = self.peak * _DEPTHWISE.get(stride, _DEPTHWISE[2])
        cycles = macs * self._vectors(work.in_block) / speed
        return Phase(cycles, FLOAT * macs, (read, *streams))

    def depthwise(self) -> Cost:
        work, target = self.work, self.target
        rows = divisors(work.out_size[0])
        groups = fewest_even(rows, work.batch * work.in_blocks, target)
        macs = work.batch * self.inside * work.out_pixels * math.prod(work.kernel)
        _, spread = self._share(work.batch * work.in_blocks * groups, macs)
        part = 1 / spread
        phase = self._filter(
            work.batch * work.out_pixels * part, self.in_bytes * part, self._written(part)
        )
        start = FLOAT * self.inside * (math.prod(work.kernel) + 1) * part
        return self._cost([phase], spread, start, self._held(spread))

    def _multiply(self, tile: Tile, pixels: int, groups: float) -> tuple[float, float]:
        """Return cycles, and bytes loaded, of vector groups over some pixels."""
        depth, block = self.work.depth, self.work.out_block
        # A block narrower than a register is a register all the same.
        vectors = tile.vectors * -(-block // self.lanes)
        cycles = loads = 0.0
        whole, rest = divmod(pixels, tile.pixels)
        for count, width in ((whole, tile.pixels), (1, rest)):
            if not width:
                continue
            macs, operands = width * vectors, width + vectors
            step = max(macs / self.speeds.pipes, operands / self.speeds.loads, float(_LATENCY))
            # Each accumulator is stored, one a cycle, before the next tile can use it.
            cycles += count * (depth * step + macs)
            loads += count * FLOAT * depth * (width + tile.vectors * block)
        return cycles * groups, loads * groups

    def _tile(self) -> Tile:
        work = self.work
        return best_tile(work.out_pixels, work.out_blocks, work.depth, self.target, work.batch)

    def _weights(  # noqa: PLR0917  from inner to outer
        self, panel: float, groups: float, tiles: int, sweeps: float, others: float, spread: float
    ) -> Stream:
        """Return the weights: a panel is read for every tile, all of them in every sweep.

        `others` are the bytes besides weights that a sweep touches; several threads may
        read the same.
        """
        tile = FLOAT * self.work.depth * MAX_PIXELS
        whole = groups * panel
        again = (
            (whole * sweeps * (tiles - 1), panel + tile),
            (whole * (sweeps - 1), whole + others),
        )
        every = FLOAT * self.work.depth * self.outside
        return Stream(whole, self.cold, again, max(spread * whole / every, 1.0))

    def pointwise(self) -> Cost:
        work, target = self.work, self.target
        tile = self._tile()
        groups = work.out_blocks // tile.vectors
        options = chunk_options(work.out_pixels, tile)
        plane = FLOAT * work.depth * work.out_pixels
        chunks = choose_chunks(Knobs(), options, plane, work.batch * groups, target)
        pixels = work.out_pixels // chunks
        macs = self.outside * work.depth * max(work.batch * work.out_pixels, ELEMENT)
        units, spread = self._share(work.batch * chunks * groups, macs)
        own, sweeps = min(groups, units), max(units / groups, 1)
        cycles, loads = self._multiply(tile, pixels, units)
        panel = FLOAT * work.depth * tile.vectors * work.out_block
        chunk, out = plane / chunks, FLOAT * pixels * tile.vectors * work.out_block
        tiles = -(-pixels // tile.pixels)
        streams = (
            self._weights(panel, own, tiles, sweeps, chunk + own * out, spread),
            Stream(sweeps * chunk, self.source, ((chunk * (units - sweeps), chunk + panel + out),)),
            *self._residual(1 / spread),
            *self._written(1 / spread),
        )
        return self._cost([Phase(cycles, loads, streams)], spread, panel)

    def separable(self) -> Cost:
        work, target = self.work, self.target
        height, width = work.out_size
        shape = (work.batch, height, width)
        tile = row_group_tile(shape, work.out_blocks, work.depth, target)
        groups = work.out_blocks // tile.vectors
        row = FLOAT * self.inside * (width + work.in_pixels // height)
        first_share = math.prod(work.kernel) / self.outside
        rows, splits = choose_rows(Knobs(), target, shape, row, tile.pixels, groups, first_share)
        chunks, pixels = height // rows, rows * width
        macs = work.batch * self.outside * work.out_pixels * work.depth
        units, spread = self._share(work.batch * chunks * splits, macs)
        places = max(units / splits, 1)  # row groups that this thread sees
        own = groups / splits * min(units, splits)
        into, middle = self.in_bytes / work.batch / chunks, FLOAT * self.inside * pixels
        border = max(work.kernel[0] - work.strides[0], 0) * work.in_size[1] * self.inside * FLOAT
        panel = FLOAT * work.depth * tile.vectors * work.out_block
        between = into + middle + own * panel
        kept = Stream(middle, "L2", (((units - 1) * middle, middle + between),))
        filtered = self._filter(units * pixels, places * into, (kept,))
        extra = (units - places) * into + (places - 1) * border
        filtered = dataclasses.replace(
            filtered,
            streams=(*filtered.streams, Stream(0, self.source, ((extra, between),))),
        )
        swept = groups / splits * units
        cycles, loads = self._multiply(tile, pixels, swept)
        out = FLOAT * pixels * tile.vectors * work.out_block
        streams = (
            self._weights(panel, own, -(-pixels // tile.pixels), places, between, spread),
            Stream(0, "L1", ((swept * middle, middle + panel + out),)),
            *self._residual(1 / spread),
            *self._written(1 / spread),
        )
        held = self._held(spread) if splits > 1 else 0.0
        return self._cost([filtered, Phase(cycles, loads, streams)], spread, panel, held)

    def tail(self) -> Cost:
        work, target = self.work, self.target
        tile = self._tile()
        groups = work.out_blocks // tile.vectors
        parts = choose_pieces(Knobs(), "parts", divisors(groups, 64), work.batch, target)
        macs = work.batch * self.outside * work.out_pixels * work.depth
        units, spread = self._share(work.batch * parts, macs)
        images = max(units / parts, 1)
        swept, own = groups / parts * units, groups / parts * min(units, parts)
        cycles, loads = self._multiply(tile, work.out_pixels, swept)
        panel = FLOAT * work.depth * tile.vectors * work.out_block
        plane = FLOAT * work.depth * work.out_pixels
        rows = FLOAT * tile.vectors * work.out_block * blocked_classes(work)
        tiles = -(-work.out_pixels // tile.pixels)
        pointwise = (
            self._weights(panel, own, tiles, images, plane + own * rows, spread),
            Stream(
                images * plane, self.source, (((swept - images) * plane, plane + panel + rows),)
            ),
            # Prefetched into L2 during the pointwise layer.
            Stream(own * rows, self.cold, ((own * (images - 1) * rows, own * (panel + rows)),)),
        )
        read = swept * rows
        classifier = Phase(read / FLOAT / self.peak, 2 * read, (Stream(read, "L2"),), slowest=_ROWS)
        return self._cost([Phase(cycles, loads, pointwise), classifier], spread, panel)

    def pool(self) -> Cost:
        work = self.work
        _, spread = self._share(work.batch * work.in_blocks, ELEMENT * work.macs)
        part = 1 / spread
        vectors = work.batch * work.in_blocks * work.in_pixels
        streams = (Stream(self.in_bytes * part, self.source), *self._written(part))
        return self._cost([Phase(vectors * part * _LATENCY, self.in_bytes * part, streams)], spread)

    def scale(self) -> Cost:
        work = self.work
        vectors = work.batch * work.in_blocks * work.in_pixels
        _, spread = self._share(work.batch * work.in_blocks, ELEMENT * vectors * work.in_block)
        part = 1 / spread
        streams = (Stream(self.in_bytes * part, self.source), *self._written(part))
        return self._cost([Phase(vectors * part, self.in_bytes * part, streams)], spread)

    def dense(self) -> Cost:
        work = self.work
        vectors = max(work.out_block // self.lanes, 1)
        most = max(min(work.batch, (self.target.registers - 4) // vectors), 1)
        sweeps = -(-work.batch // most)
        weights = FLOAT * work.depth * self.outside
        macs = work.batch * work.depth * self.outside
        _, spread = self._share(sweeps * work.out_blocks, macs)
        part = 1 / spread
        streams = (
            Stream(weights * part, self.cold, (((sweeps - 1) * weights * part, weights * part),)),
            *self._written(part),
        )
        phase = Phase(macs * part / self.peak, weights * part * sweeps, streams)
        return self._cost([phase], spread)

    def softmax(self) -> Cost:
        work = self.work
        vectors = work.batch * work.out_blocks
        _, spread = self._share(work.batch, _POWER * vectors * work.out_block)
        part = 1 / spread
        loads = 4 * FLOAT * vectors * work.out_block * part
        streams = (Stream(self.in_bytes * part, self.source), *self._written(part))
        cycles = _POWER * vectors * part / self.speeds.pipes
        return self._cost([Phase(cycles, loads, streams)], spread)
