"""How GPU schedules deal out work: threads of a block, strips of a map. Of no TVM's making."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.machine.gpu import LANE_BYTES, REGISTER_BYTES, SCHEDULERS

VECTOR_REGISTERS = LANE_BYTES // REGISTER_BYTES
"""Registers that the widest load of a thread fills."""

THREADS, _MOST_THREADS = 128, 256

WARPS_OF_A_UNIT = 2 * SCHEDULERS
"""Warps that keep a unit busy where each has several loads under way: two a scheduler."""

_MOST_LOADS = 16
"""Loads of a thread that are under way at once."""


def up_to(options: Sequence[int], most: int) -> list[int]:
    """Return the options that are not above `most`."""
    return [option for option in options if option <= most]


def hanging(rows: int, strip: int) -> float:
    """Return how much more strips of so many rows do than the rows of a map need.

    A last strip that hangs over costs as much as a whole one, and has every row ask whether
    it exists: a tenth.
    """
    strips = -(-rows // strip)
    return strips * strip / rows * (1.0 if rows % strip == 0 else 1.1)


def cut_through(threads: int, axes: Sequence[int]) -> bool:
    """Whether a block ends inside of an axis that it has begun to tell apart from the next.

    Of threads that go over several axes as one, TVM finds each axis' place again by division,
    unless blocks have a multiple of the inner axes and no whole part of the one outside.

    Parameters
    ----------
    axes : sequence of int
        Their lengths, from outer to inner.
    """
    rest = threads
    if math.prod(axes) <= threads:
        return False
    for length in reversed(axes):
        if rest % length:
            return rest not in (1, threads) and length % rest > 0
        rest //= length
    return False


def block_threads(  # noqa: PLR0917  sizes
    knobs: Knobs,
    total: int,
    target: TargetSpec,
    groups: int = 1,
    name: str = "threads",
    axes: Sequence[int] = (),
) -> int:
    """Ask for the threads of a block where blocks have nothing in common.

    By rule 128, or the nearest number below that the axis is a multiple of, since a
    last block of fewer has every statement ask; fewer where the grid would not reach every
    unit. Whole warps.

    Parameters
    ----------
    knobs : Knobs
        One of `name`.
    total : int
        Threads of the grid's first axis.
    groups : int
        Blocks along its second.
    name : str
        What the knob is called.
    axes : sequence of int
        Those that the first axis is made of: see :func:`cut_through`.
    """
    gpu = target.the_gpu
    most = min(gpu.block_threads, _MOST_THREADS)
    options = [t for t in range(gpu.warp, most + 1, gpu.warp) if not cut_through(t, axes)]
    reaching = [t for t in options if t <= THREADS and total * groups >= t * gpu.units]
    even = [t for t in reaching if total % t == 0]
    return knobs.choice(name, options, max(even or reaching, default=min(options)))


def map_threads(
    knobs: Knobs, batch: int, blocks: int, pixels: int, target: TargetSpec
) -> tuple[int, int]:
    """Ask for the threads of a map that is added up, and for the maps of a block.

    Parameters
    ----------
    knobs : Knobs
        ``threads`` and ``maps``.
    batch, blocks, pixels : int
        N, channel blocks, pixels of a map.
    """
    gpu = target.the_gpu
    most = min(gpu.block_threads, _MOST_THREADS)
    sizes = [t for t in range(1, most + 1) if pixels % t == 0]
    wanted = 2 * math.sqrt(pixels)
    best = min(sizes, key=lambda t: abs(math.log(t / wanted)))
    threads = knobs.choice("threads", sizes, best)
    counts = [m for m in range(1, most // threads + 1) if blocks % m == 0]
    enough = [m for m in counts if m * best <= gpu.warp or batch * blocks >= m * gpu.units]
    maps = knobs.choice("maps", counts, max([1, *(m for m in enough if m * best <= THREADS)]))
    return threads, maps


def loads_at_once(count: int) -> int:
    """Return how many of a thread's `count` loads are unrolled together: a divisor."""
    return max(n for n in range(1, min(count, _MOST_LOADS) + 1) if count % n == 0)
