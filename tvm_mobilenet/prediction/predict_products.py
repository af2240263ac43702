"""Matrix products as the cost model sees them, those that a depthwise layer feeds among them.

What the loops are, their plans say (``schedules/plans``). The constants are shares of the peak
that those schedules reach when everything is in L1, measured on Zen 5.
"""

from __future__ import annotations

import dataclasses

from tvm_mobilenet.machine.arithmetic import LATENCY
from tvm_mobilenet.operators.footprint import blocked_classes, weight_bytes
from tvm_mobilenet.prediction.cost import Cost, Phase, Stream
from tvm_mobilenet.prediction.predict_maps import Maps
from tvm_mobilenet.schedules.plans.tile import MAX_PIXELS, Tile

_ROWS = 18.0
"""Bytes a cycle of the classifier's rows inside such a kernel, whose eight accumulators are stored
after every 32 channels: 57 to 74 GB/s in V1 from 1.0/224 to 0.25/128."""


_WINDOWS = 0.8
"""Share of the peak of a convolution on blocks."""


class Products(Maps):
    """One kernel, for the thread with most to do; of those that go over maps too."""

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
            macs = width * vectors
            operands = dataclasses.replace(tile, pixels=width, vectors=vectors).loaded
            step = max(macs / self.speeds.pipes, operands / self.speeds.loads, float(LATENCY))
            # Each accumulator is stored, one a cycle, before the next tile can use it.
            cycles += count * (depth * step + macs)
            loads += count * self.item * depth * (width + tile.vectors * block)
        return cycles * groups, loads * groups

    def _weights(  # noqa: PLR0917  from inner to outer
        self, panel: float, groups: float, tiles: int, sweeps: float, others: float, spread: float
    ) -> Stream:
        """Return the weights: a panel is read for every tile, all of them in every sweep.

        `others` are the bytes besides weights that a sweep touches; several threads may
        read the same.
        """
        tile = self.item * self.work.depth * MAX_PIXELS
        whole = groups * panel
        again = (
            (whole * sweeps * (tiles - 1), panel + tile),
            (whole * (sweeps - 1), whole + others),
        )
        every = self.item * self.work.depth * self.outside
        return Stream(whole, self.cold, again, max(spread * whole / every, 1.0))

    def pointwise(self) -> Cost:
        """Return the cost of a pointwise layer."""
        work, tile = self.work, self.plan.tile
        groups, chunks = self.plan.groups, self.plan.chunks
        plane = self.item * work.depth * work.out_pixels
        pixels = work.out_pixels // chunks
        units, spread = self._share()
        own, sweeps = min(groups, units), max(units / groups, 1)
        cycles, loads = self._multiply(tile, pixels, units)
        panel = self.item * work.depth * tile.vectors * work.out_block
        chunk, out = plane / chunks, self.item * pixels * tile.vectors * work.out_block
        streams = (
            self._weights(panel, own, self.plan.tiles, sweeps, chunk + own * out, spread),
            Stream(sweeps * chunk, self.source, ((chunk * (units - sweeps), chunk + panel + out),)),
            *self._residual(1 / spread),
            *self._written(1 / spread),
        )
        return self._cost([Phase(cycles, loads, streams)], spread, panel)

    def windows(self) -> Cost:
        """Return the cost of a convolution on blocks, transposed perhaps."""
        work, plan = self.work, self.plan
        units, spread = self._share()
        part = 1 / spread
        filled = -(-plan.lanes // self.lanes) * self.lanes / plan.lanes
        weights = float(weight_bytes(work))
        cycles = work.macs * filled / self.peak / _WINDOWS
        loads = self.item * work.macs * part / plan.tile.pixels
        panel = weights / (plan.groups * plan.splits)
        rest = (self.in_bytes + self.out_bytes) / plan.chunks
        again = (units / plan.splits - 1) * weights / plan.splits
        streams = (
            Stream(self.in_bytes * part, self.source),
            Stream(weights, self.cold, ((max(again, 0.0), weights + rest),)),
            *self._residual(part),
            *self._written(part),
        )
        return self._cost([Phase(cycles * part, loads, streams)], spread, panel)

    def linear(self) -> Cost:
        """Return the cost of products on plain matrices."""
        work = self.work
        units, spread = self._share()
        part = 1 / spread
        weights = float(weight_bytes(work))
        sweeps = max(units / self.plan.groups, 1)
        loads = self.item * work.macs * part / self.plan.tile.pixels
        streams = (
            Stream(self.in_bytes * part, self.source),
            Stream(weights, self.cold, (((sweeps - 1) * weights, weights + self.in_bytes),)),
            *self._residual(part),
            *self._written(part),
        )
        return self._cost([Phase(work.macs * part / self.peak / _WINDOWS, loads, streams)], spread)

    def separable(self) -> Cost:
        """Return the cost of a depthwise and a pointwise layer as one kernel."""
        work, tile, splits = self.work, self.plan.tile, self.plan.splits
        chunks, pixels = self.plan.chunks, self.plan.chunk_pixels
        units, spread = self._share()
        places = max(units / splits, 1)  # row groups that this thread sees
        own = self.plan.groups * min(units, splits)
        into, middle = self.in_bytes / work.batch / chunks, self.item * self.inside * pixels
        border = (
            max(work.kernel[0] - work.strides[0], 0) * work.in_size[1] * self.inside * self.item
        )
        panel = self.item * work.depth * tile.vectors * work.out_block
        between = into + middle + own * panel
        kept = Stream(middle, "L2", (((units - 1) * middle, middle + between),))
        filtered = self._filter(units * pixels, places * into, (kept,))
        extra = (units - places) * into + (places - 1) * border
        filtered = dataclasses.replace(
            filtered,
            streams=(*filtered.streams, Stream(0, self.source, ((extra, between),))),
        )
        swept = self.plan.groups * units
        cycles, loads = self._multiply(tile, pixels, swept)
        out = self.item * pixels * tile.vectors * work.out_block
        streams = (
            self._weights(panel, own, self.plan.tiles, places, between, spread),
            Stream(0, "L1", ((swept * middle, middle + panel + out),)),
            *self._residual(1 / spread),
            *self._written(1 / spread),
        )
        held = self._held(spread) if splits > 1 else 0.0
        return self._cost([filtered, Phase(cycles, loads, streams)], spread, panel, held)

    def conv_pool_dense(self) -> Cost:
        """Return the cost of the last pointwise layer, pool and classifier as one kernel."""
        work, tile, parts = self.work, self.plan.tile, self.plan.parts
        units, spread = self._share()
        images = max(units / parts, 1)
        swept, own = self.plan.groups * units, self.plan.groups * min(units, parts)
        cycles, loads = self._multiply(tile, work.out_pixels, swept)
        panel = self.item * work.depth * tile.vectors * work.out_block
        plane = self.item * work.depth * work.out_pixels
        rows = self.item * tile.vectors * work.out_block * blocked_classes(work)
        pointwise = (
            self._weights(panel, own, self.plan.tiles, images, plane + own * rows, spread),
            Stream(
                images * plane, self.source, (((swept - images) * plane, plane + panel + rows),)
            ),
            # Prefetched into L2 during the pointwise layer.
            Stream(own * rows, self.cold, ((own * (images - 1) * rows, own * (panel + rows)),)),
        )
        read = swept * rows
        classifier = Phase(
            read / self.item / self.peak, 2 * read, (Stream(read, "L2"),), slowest=_ROWS
        )
        return self._cost([Phase(cycles, loads, pointwise), classifier], spread, panel)

    def dense(self) -> Cost:
        """Return the cost of a dense layer."""
        work = self.work
        sweeps = -(-work.batch // self.plan.images)
        weights = self.item * work.depth * self.outside
        macs = work.batch * work.depth * self.outside
        _, spread = self._share()
        part = 1 / spread
        streams = (
            Stream(weights * part, self.cold, (((sweeps - 1) * weights * part, weights * part),)),
            *self._written(part),
        )
        phase = Phase(macs * part / self.peak, weights * part * sweeps, streams)
        return self._cost([phase], spread)
