"""How fast this processor reads its caches and its memory, threads together.

Reading counts, because that is most of what a network does: every weight and
every map is read, only maps are written.

Measured by this module on 2 cores of a Zen 5 EPYC (znver5, 1 MB L2 a core,
32 MB L3), GB/s on 1 / 2 threads: L2 218 / 381, L3 112 / 216, memory 40 / 47.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm_mobilenet.bench.kernel import calling, reducing_in_registers
from tvm_mobilenet.machine import TargetSpec

VECTORS = 16
"""Vectors that a step adds up, each to a sum of its own: with one load and one
addition of latency 3 to 5 a cycle, enough to let the loads decide."""

LEVELS = ("L2", "L3", "memory")
"""From near to far."""

_READ_BYTES = 1 << 28
"""In one call: milliseconds, so that entering a parallel region does not count."""


def footprints(spec: TargetSpec, threads: int) -> dict[str, int]:
    """Return how much a thread reads, again and again, to measure each level.

    Half of L2; at least twice L2 and, with the other threads, at most half of
    L3; four times L3 and at least 128 MB of memory in all. Levels that the
    processor lacks, or that cannot be told from L2 (a slice of L3 no larger
    than that), are left out.

    Parameters
    ----------
    spec : TargetSpec
        With the caches of this machine.
    threads : int
        That read at a time, each its own part.

    Returns
    -------
    dict of str to int
        Level → bytes per thread.
    """
    found = {}
    if spec.l2_bytes:
        found["L2"] = spec.l2_bytes // 2
    third = spec.l3_bytes // 2 // threads
    if third >= 2 * spec.l2_bytes > 0:
        found["L3"] = min(third, 8 * spec.l2_bytes)
    found["memory"] = max(4 * spec.l3_bytes, 1 << 27) // threads
    return found


def reading_module(threads: int, lanes: int, steps: int, repeats: int) -> Any:
    """Build the kernel: each thread adds up its own part of `x`, `repeats` times.

    Parameters
    ----------
    threads : int
        Iterations of the parallel outer loop.
    lanes : int
        float32 elements in a vector register.
    steps : int
        Times VECTORS vectors in the part of one thread.
    repeats : int
        Times that a thread reads its part.

    Returns
    -------
    tvm.IRModule
        ``main(x, y)`` with x of (threads, steps, VECTORS, lanes) and y of
        (threads, VECTORS, lanes), float32.

    Notes
    -----
    Loops from outer to inner: thread (parallel), repeat, step, vector
    (unrolled), lane (vector). Sums stay in registers; float additions may not
    be reordered, so no repeat can be left out.
    """
    from tvm import te

    x = te.placeholder((threads, steps, VECTORS, lanes), name="x")
    r, k = te.reduce_axis((0, repeats), name="r"), te.reduce_axis((0, steps), name="k")
    y = te.compute(
        (threads, VECTORS, lanes), lambda t, v, i: te.sum(x[t, k, v, i], axis=[r, k]), name="y"
    )
    return reducing_in_registers([x, y])


def runner(spec: TargetSpec, threads: int, footprint: int) -> tuple[Callable[[], Any], int]:
    """Compile the kernel; return one call of it, and the bytes that this reads.

    Each thread reads `footprint` bytes again and again.
    """
    import numpy as np

    step = VECTORS * spec.arithmetic("float32").vector_bytes
    steps = max(1, footprint // step)
    repeats = max(1, _READ_BYTES // (threads * steps * step))
    module = reading_module(threads, spec.lanes, steps, repeats)
    # Ones, not zeros: untouched zero pages would all be the same page of memory.
    x = np.ones((threads, steps, VECTORS, spec.lanes), np.float32)
    y = np.zeros((threads, VECTORS, spec.lanes), np.float32)
    return calling(module, spec, threads, x, y), threads * repeats * steps * step
