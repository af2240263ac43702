"""Operators that go over maps as the cost model sees them: no matrix product.

What the loops are, their plans say (``schedules/plans``). The constants are shares of the peak
that those schedules reach when everything is in L1, measured on Zen 5.
"""

from __future__ import annotations

import math

from tvm_mobilenet.machine import ITEM_BYTES, TargetSpec
from tvm_mobilenet.machine.arithmetic import LATENCY
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.footprint import blocked_in, blocked_out, weight_bytes
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.prediction.cache_context import CacheContext
from tvm_mobilenet.prediction.cost import FLOAT, Caches, Cost, Phase, Stream, cost_of
from tvm_mobilenet.prediction.speeds import speeds_of
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.plans import plan, plans_for

_CONV = 0.88
"""Share of the peak: benchmarks/layers.py, 112 x 112 x 32."""

_DEPTHWISE = {1: 0.8, 2: 0.4}
"""Share of the peak, by stride: benchmarks/layers.py, 190 and 95 of 238 GFLOP/s."""

_REQUANTIZED = 8.0
"""Sums of 32 bits that become elements in a cycle: a conversion, a multiply-add, a conversion
back and a third of what packs four vectors, each for 16 of them (assumed)."""


class Maps:
    """One kernel, for the thread with most to do.

    Parameters
    ----------
    knobs : Knobs
        What it is planned with.
    """

    def __init__(
        self, work: Workload, target: TargetSpec, context: CacheContext, threads: int, knobs: Knobs
    ) -> None:
        self.plan = plan(work, knobs, target, plans_for(target, "relax"))
        self.work, self.target, self.context, self.threads = work, target, context, threads
        self.caches, self.speeds = Caches.of(target, threads), speeds_of(target, work.dtype)
        self.lanes, self.peak = target.lanes, target.arithmetic(work.dtype).macs
        self.item = ITEM_BYTES[work.dtype]
        self.cold = context.cold(self.caches, threads)
        self.source = context.source(self.caches, threads)
        self.inside, self.outside = blocked_in(work), blocked_out(work)
        self.in_bytes = self.item * work.batch * self.inside * work.in_pixels
        self.out_bytes = self.item * work.batch * self.outside * work.out_pixels

    def _share(self) -> tuple[int, float]:
        """Return the units of the thread with most of them, and all units over these."""
        units = self.plan.units
        alone = self.threads == 1 or not self.plan.parallel
        most = units if alone else -(-units // self.threads)
        return most, units / most

    def _cost(
        self, phases: list[Phase], spread: float, start: float = 0.0, held: float = 0.0
    ) -> Cost:
        first = Stream(start, self.cold) if start else None
        work = self.work
        return cost_of(
            work.macs, phases, self.target, self.threads, spread, first, held, work.dtype
        )

    def _written(self, part: float) -> tuple[Stream, Stream]:
        return self.context.written(self.out_bytes * part, self.caches, self.threads)

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
        """Return the cost of a first convolution."""
        work = self.work
        taps = math.prod(work.kernel) * work.in_channels
        macs = work.batch * self.outside * work.out_pixels * taps
        _, spread = self._share()
        part = 1 / spread
        image = FLOAT * work.batch * work.in_channels * work.in_pixels
        streams = (Stream(image * part, self.source), *self._written(part))
        loads = self.item * macs * part / work.out_block * 2
        cycles = macs * part * self._vectors(work.out_block) / self.peak / _CONV
        return self._cost([Phase(cycles, loads, streams)], spread)

    def _filter(self, pixels: float, into: float, streams: tuple[Stream, ...]) -> Phase:
        """Return the depthwise part: output pixels, bytes read, and what it writes."""
        work = self.work
        rows, stride = work.kernel[0], work.strides[0]
        line = self.item * work.in_size[1] * work.in_block * rows
        macs = pixels * self.inside * math.prod(work.kernel)
        again = max(rows / stride - 1, 0) * into
        read = Stream(into, self.source, ((again, line),))
        speed = self.peak * _DEPTHWISE.get(stride, _DEPTHWISE[2])
        cycles = macs * self._vectors(work.in_block) / speed
        return Phase(cycles, self.item * macs, (read, *streams))

    def depthwise(self) -> Cost:
        """Return the cost of a depthwise layer."""
        work = self.work
        _, spread = self._share()
        part = 1 / spread
        phase = self._filter(
            work.batch * work.out_pixels * part, self.in_bytes * part, self._written(part)
        )
        start = self.item * self.inside * (math.prod(work.kernel) + 1) * part
        return self._cost([phase], spread, start, self._held(spread))

    def pool(self) -> Cost:
        """Return the cost of a global pool."""
        work = self.work
        _, spread = self._share()
        part = 1 / spread
        vectors = work.batch * work.in_blocks * work.in_pixels
        streams = (Stream(self.in_bytes * part, self.source), *self._written(part))
        return self._cost([Phase(vectors * part * LATENCY, self.in_bytes * part, streams)], spread)

    def scale(self) -> Cost:
        """Return the cost of a map times factors."""
        work = self.work
        vectors = work.batch * work.in_blocks * work.in_pixels
        _, spread = self._share()
        part = 1 / spread
        streams = (Stream(self.in_bytes * part, self.source), *self._written(part))
        return self._cost([Phase(vectors * part, self.in_bytes * part, streams)], spread)

    def rows(self) -> Cost:
        """Return the cost of what goes over rows, four times each."""
        work = self.work
        vectors = work.batch * work.out_blocks
        _, spread = self._share()
        part = 1 / spread
        loads = 4 * self.item * vectors * work.out_block * part
        streams = (Stream(self.in_bytes * part, self.source), *self._written(part))
        each = OPERATORS[work.operator].element_work
        cycles = each * vectors * part / self.speeds.pipes
        return self._cost([Phase(cycles, loads, streams)], spread)

    def written(self) -> Cost:
        """Return the cost of a kernel on int8 or bfloat16: its products, or what it moves."""
        work, (_, spread) = self.work, self._share()
        part, weights = 1 / spread, float(weight_bytes(work))
        elements = work.batch * self.outside * work.out_pixels
        cycles = work.macs / self.peak + elements / _REQUANTIZED
        streams = (
            Stream(self.in_bytes * part, self.source),
            Stream(weights, self.cold),
            *self._residual(part),
            *self._written(part),
        )
        loads = (self.in_bytes + self.out_bytes) * part + weights
        return self._cost([Phase(cycles * part, loads, streams)], spread, 0.0, self._held(spread))
