"""How a kernel's work is cut into units, and whether threads share them."""

from __future__ import annotations

from collections.abc import Sequence

from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.machine import TargetSpec

BALANCED = 1.05
"""Imbalance that is not worth smaller pieces."""

_SERIAL_MACS = 400_000
"""Below this many multiply-adds a kernel runs on one thread: handing work to TVM's
pool and waiting for it costs about as long as the second thread would save
(measured: benchmarks/threads.py)."""

ELEMENT = 16
"""What an element, or a weight, that is used once counts in multiply-adds: it takes as long as it
needs to come from L3, memory, or the cache of the thread that computed it."""


def imbalance(units: int, cores: int) -> float:
    """Return the longest thread's work over the mean: 1.0 is perfect.

    TVM gives every thread the same number of consecutive units, rounded up.

    Parameters
    ----------
    units : int
        Equal pieces of work.
    cores : int
        Threads.
    """
    return -(-units // cores) * cores / units


def share(units: int, macs: int, knobs: Knobs, target: TargetSpec) -> bool:
    """Ask whether threads share a kernel's units: ``threads``, all or one.

    Parameters
    ----------
    units : int
        Independent pieces of the kernel.
    macs : int
        Multiply-adds of the whole kernel.
    target : TargetSpec
        On one core, too, a kernel may be shared: logs of such targets hold it.
    """
    default = "all" if pays_to_share(units, macs, target) else "one"
    return knobs.choice("threads", ["all", "one"], default) == "all"


def pays_to_share(units: int, macs: int, target: TargetSpec) -> bool:
    """Whether threads should share a kernel's units.

    Parameters
    ----------
    macs : int
        Multiply-adds of the whole kernel.
    """
    return target.cores > 1 and units > 1 and macs >= _SERIAL_MACS


def divisors(count: int, most: int = 0) -> list[int]:
    """List the divisors of a count, ascending, up to `most` unless that is 0."""
    return [i for i in range(1, min(count, most or count) + 1) if count % i == 0]


def fewest_even(options: Sequence[int], units: int, target: TargetSpec) -> int:
    """Return the fewest pieces that give every thread as much.

    Parameters
    ----------
    options : sequence of int
        Numbers of pieces.
    units : int
        Units of one piece.
    """
    return min(options, key=lambda i: (max(imbalance(units * i, target.cores), BALANCED), i))


def choose_pieces(
    knobs: Knobs, name: str, options: Sequence[int], units: int, target: TargetSpec
) -> int:
    """Ask for a number of pieces; see :func:`fewest_even` for the rule."""
    return knobs.choice(name, options, fewest_even(options, units, target))


def choose_chunks(
    knobs: Knobs, options: Sequence[int], map_bytes: int, units: int, target: TargetSpec
) -> int:
    """Ask for the chunks of a pointwise layer's pixels: at most half of L2 each, balanced.

    Parameters
    ----------
    options : sequence of int
        Possible numbers of chunks, ascending.
    map_bytes : int
        The whole input.
    units : int
        Units of one chunk.
    """
    fewest = map_bytes / (target.l2_bytes / 2 or 1 << 17)
    enough = [i for i in options if i >= fewest] or options[-1:]
    return knobs.choice("chunks", options, fewest_even(enough, units, target))
