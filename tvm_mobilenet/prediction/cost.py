"""What a kernel will move and take, predicted from its sizes and the processor's caches.

A kernel is a list of phases that follow each other; a phase is arithmetic and streams. A
stream is some bytes, the level where they are found the first time, and how often they are
read again after how many other bytes: what is read again after more bytes than a level holds
passes that level's border again. A phase takes the longest of its arithmetic and of each
level's bytes at that level's speed, because out-of-order cores and prefetches overlap them.

What cannot overlap is added: the first weight panel, the thread pool, and lines that another
core holds. Everything is predicted for the plan that the schedules' rules would make.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tvm_mobilenet.machine import ITEM_BYTES, Dtype, TargetSpec
from tvm_mobilenet.prediction.speeds import L3_SHARE, LEVELS, Speeds, speeds_of

FLOAT = ITEM_BYTES["float32"]
"""Bytes of an element of the image, whatever maps in blocks are stored as."""

HELD = 20.0
"""Bytes a cycle that a core writes where another core has just read: its copies must go
first. Alone such writes take twice as long (36 to 47 GB/s on a Zen 5 EPYC for 170); half of
it hides behind arithmetic."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Bytes that one thread reads or writes.

    Attributes
    ----------
    size : float
        Each once.
    found : str
        The level that has them, or will, the first time.
    again : tuple of (float, float)
        Bytes that are touched again, and how many others were touched in between.
    readers : float
        Threads that read the same bytes at about the same time: memory gives them once.
    """

    size: float
    found: str
    again: tuple[tuple[float, float], ...] = ()
    readers: float = 1.0


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a kernel, as one thread runs it.

    Attributes
    ----------
    cycles : float
        What the arithmetic takes, with what a micro-kernel needs besides.
    loads : float
        Bytes between registers and L1.
    streams : tuple of Stream
        What it reads and writes beyond L1.
    slowest : float
        Bytes a cycle that its innermost loop can take from L2 at most; 0 for no limit.
    """

    cycles: float
    loads: float
    streams: tuple[Stream, ...]
    slowest: float = 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """A prediction.

    Attributes
    ----------
    macs : int
        Multiply-adds on real channels.
    moved : dict of str to float
        Bytes that come from, or go to, each of LEVELS, all threads together: registers and
        L1, L1 and L2, L2 and L3, L3 (without one: L2) and memory.
    parts : dict of str to float
        Cycles of the slowest thread by what it waits for: ``"compute"`` and each level in
        the phases where that takes longest, ``"start"`` (the first weights), ``"threads"``
        (the pool, and lines that other cores hold).
    ideal : float
        Cycles of the multiply-adds alone, at the peak of all threads.
    """

    macs: int
    moved: dict[str, float]
    parts: dict[str, float]
    ideal: float

    @property
    def cycles(self) -> float:
        """Cycles of the whole kernel."""
        return sum(self.parts.values())

    @property
    def share(self) -> float:
        """Share of the arithmetic bound that it reaches, 0 to 1."""
        return self.ideal / self.cycles if self.cycles else 0.0

    @property
    def bound(self) -> str:
        """What takes longest: ``"compute"``, a level, ``"start"`` or ``"threads"``."""
        return max(self.parts, key=lambda part: self.parts[part])

    def __add__(self, other: Cost) -> Cost:
        """Return the cost of one after the other."""
        return Cost(
            self.macs + other.macs,
            {level: self.moved[level] + other.moved[level] for level in self.moved},
            {part: self.parts[part] + other.parts[part] for part in self.parts},
            self.ideal + other.ideal,
        )


def total(costs: Iterable[Cost]) -> Cost:
    """Add up costs, one at least."""
    first, *rest = costs
    return sum(rest, first)


@dataclass(frozen=True, slots=True)
class Caches:
    """What one of several threads finds in the caches, in bytes.

    Attributes
    ----------
    l1, l2, l3 : float
        Its own; of L3 its part of what a network may count on. 0 where there is none.
    """

    l1: float
    l2: float
    l3: float

    @classmethod
    def of(cls, target: TargetSpec, threads: int) -> Caches:
        """Return the part of each of `threads` threads."""
        return cls(target.l1_bytes, target.l2_bytes, target.l3_bytes * L3_SHARE / threads)

    @property
    def sizes(self) -> tuple[float, float, float]:
        """From near to far."""
        return self.l1, self.l2, self.l3

    def found(self, distance: float) -> str:
        """Return the level that still has what was touched `distance` bytes ago."""
        for level, size in zip(LEVELS[:3], self.sizes, strict=True):
            if distance <= size:
                return level
        return LEVELS[3]

    def crossing(self, stream: Stream) -> tuple[float, float, float]:
        """Return this thread's bytes that pass the far border of L1, L2 and L3.

        Without an L3 (or an L2) what passes the border before it passes its own too.
        """
        passed = [0.0]
        for i, size in enumerate(self.sizes):
            if size == 0 and i:
                passed.append(passed[-1])
                continue
            first = stream.size if LEVELS.index(stream.found) > i else 0.0
            passed.append(first + sum(n for n, distance in stream.again if distance > size))
        return passed[1], passed[2], passed[3] / stream.readers


def cost_of(  # noqa: PLR0917  what runs, then where
    macs: int,
    phases: Sequence[Phase],
    target: TargetSpec,
    threads: int,
    spread: float,
    start: Stream | None = None,
    held: float = 0.0,
    dtype: Dtype = "float32",
) -> Cost:
    """Predict a kernel.

    Parameters
    ----------
    macs : int
        Multiply-adds of the whole kernel, on real channels.
    phases : sequence of Phase
        What the thread with most to do goes through.
    threads : int
        Threads that run.
    spread : float
        All threads' work over this one's; 1 for a kernel on one thread.
    start : Stream, optional
        First weights, which nothing hides.
    held : float
        Bytes that this thread writes into lines that others have just read.
    dtype : Dtype
        What is multiplied: the bound is that of its arithmetic.
    """
    speeds, caches = speeds_of(target), Caches.of(target, threads)
    arithmetic = target.arithmetic(dtype)
    near = speeds.loads * arithmetic.vector_bytes
    rates = _rates(speeds, target, threads)
    moved = dict.fromkeys(LEVELS, 0.0)
    parts = dict.fromkeys(("compute", *LEVELS, "start", "threads"), 0.0)
    for phase in phases:
        each = [caches.crossing(stream) for stream in phase.streams]
        crossing = [sum(one[i] for one in each) for i in range(3)]
        counts = dict(zip(LEVELS, (phase.loads, *crossing), strict=True))
        took = {"compute": phase.cycles}
        took |= {level: counts[level] / rates.get(level, near) for level in LEVELS}
        if phase.slowest:
            took["L2"] = max(took["L2"], counts["L2"] / phase.slowest)
        for level in LEVELS:
            moved[level] += counts[level] * spread
        longest = max(took, key=lambda part: took[part])
        parts[longest] += took[longest]
    if start is not None:
        parts["start"] = sum(
            amount / rates[level]
            for level, amount in zip(LEVELS[1:], caches.crossing(start), strict=True)
        )
    if spread > 1:
        parts["threads"] = speeds.region + held / HELD
    if not target.l3_bytes:
        moved["L3"] = 0.0
    return Cost(macs, moved, parts, macs / (arithmetic.macs * threads))


def _rates(speeds: Speeds, target: TargetSpec, threads: int) -> dict[str, float]:
    """Return the bytes a cycle of one of `threads` threads, by level; no L3 costs nothing."""
    l3 = speeds.l3 if target.l3_bytes else math.inf
    return {
        "L2": speeds.l2,
        "L3": l3,
        "memory": min(speeds.memory, speeds.memory_all / threads),
    }
