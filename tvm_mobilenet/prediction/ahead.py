"""Which kernels prefetch the weights of later ones that would wait for theirs.

A matrix times a vector (squeeze-and-excite, a classifier) uses each weight once: in a network
whose weights do not stay in cache it takes as long as memory does, and its cores do nothing.
The convolutions before it are the other way round. So each of them can be given a share of those
weights, which it prefetches while it computes (ADR 0012).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tvm_mobilenet.machine import LINE_BYTES, Dtype, TargetSpec
from tvm_mobilenet.machine.arithmetic import line_items
from tvm_mobilenet.operators.ahead import Ahead
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.footprint import map_bytes, weight_bytes
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.prediction.cache_context import CacheContext
from tvm_mobilenet.prediction.cost import Caches
from tvm_mobilenet.prediction.speeds import speeds_of

_USED = 0.8
"""Share of memory's bandwidth that prefetches may take, a kernel's own weights among them."""

_REMEMBERED = 0.75
"""Share of L3 whose bytes may pass between a prefetch and its use. More than the share that the
cost model counts on: what is lost cost nothing but bandwidth that nobody used."""

_LEAST = 1 << 14
"""Bytes that are worth a prefetch, and so a kernel of its own."""


@dataclass(slots=True)
class _Kernel:
    """One kernel of the network.

    `spare` are bytes that memory could deliver meanwhile beyond its own weights; negative
    for one that waits for memory. `moved` are bytes that pass through the caches.
    """

    work: Workload
    shape: tuple[int, ...] | None
    spare: float
    moved: float
    ahead: list[tuple[Ahead, int]] = field(default_factory=list)


def plan_ahead(works: Sequence[Workload], target: TargetSpec) -> list[list[tuple[Ahead, int]]]:
    """Spread the weights of kernels that would wait for memory over the kernels before them.

    From the last kernel to the first, each takes the nearest hosts that have bandwidth left:
    nothing is fetched earlier than it must be, or further ahead than L3 remembers.

    Only where weights come from memory, and where there is an L3 to remember: what is
    fetched passes through it.

    Parameters
    ----------
    works : sequence of Workload
        Every kernel of ours, in the order of execution.

    Returns
    -------
    list of list of (Ahead, int)
        For each kernel what it prefetches, and for which of the kernels.
    """
    context = CacheContext(sum(map(weight_bytes, works)), tuple(map(map_bytes, works)) or (0,), 0)
    threads = target.cores
    if not target.l3_bytes or context.cold(Caches.of(target, threads), threads) != "memory":
        return [[] for _ in works]
    found = [_kernel(work, target) for work in works]
    for at in range(len(found) - 1, -1, -1):
        if found[at].spare <= -_LEAST:
            _spread(found[:at], found[at], at, target)
    return [kernel.ahead for kernel in found]


def _kernel(work: Workload, target: TargetSpec) -> _Kernel:
    weights, facts = weight_bytes(work), OPERATORS[work.operator]
    spare = _deliverable(work, target) - weights
    return _Kernel(work, facts.prefetched_shape(work), spare, weights + map_bytes(work))


def _deliverable(work: Workload, target: TargetSpec) -> float:
    """Return the bytes that memory delivers while all cores compute a kernel."""
    speeds = speeds_of(target)
    memory = min(speeds.memory * target.cores, speeds.memory_all)
    return _USED * memory * work.macs / (target.arithmetic(work.dtype).macs * target.cores)


def _spread(before: Sequence[_Kernel], waiting: _Kernel, at: int, target: TargetSpec) -> None:
    """Give the weights of a kernel to those before it, the nearest first."""
    if waiting.shape is None:
        return
    parts = target.cores
    dtype: Dtype = "int8" if waiting.work.integer else waiting.work.dtype
    part = math.prod(waiting.shape) // (line_items(dtype) * parts)
    line = LINE_BYTES * parts  # of every part one
    left = min(math.ceil(-waiting.spare / line), part)
    window = _REMEMBERED * target.l3_bytes - waiting.moved
    for host in reversed(before):
        window -= host.moved
        if window < 0 or left * line < _LEAST:
            return
        if not OPERATORS[host.work.operator].hosts_prefetches or host.spare < _LEAST:
            continue
        lines = min(int(host.spare / line), left)
        left -= lines
        # What is used last is fetched first.
        host.ahead.append((Ahead(waiting.shape, parts, left, lines, dtype), at))
        host.spare -= lines * line
        host.moved += lines * line
        window -= lines * line
