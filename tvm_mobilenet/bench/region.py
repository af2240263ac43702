"""What a parallel region costs at least: regions with next to nothing in them.

The caller does the parts of threads that have not come, so on the pool that artifacts have this
holds no wait for anybody; what the pool takes in a network's own regions, `profile` times in them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm_mobilenet.bench.kernel import begin, calling
from tvm_mobilenet.machine import TargetSpec

REGIONS = 1000
"""Regions in one call; a pool's threads look for work between them, as they do inside a network."""


def regions_module(threads: int, lanes: int) -> Any:
    """Build the kernel: REGIONS times, one vector stored by each thread.

    Parameters
    ----------
    threads : int
        Iterations of the parallel loop.
    lanes : int
        float32 elements in a vector register.

    Returns
    -------
    tvm.IRModule
        ``main(x, y)`` with x of (lanes,), y of (REGIONS, threads, lanes), float32.

    Notes
    -----
    Loops from outer to inner: region (serial), thread (parallel), lane (vector).
    """
    from tvm import te

    x = te.placeholder((lanes,), name="x")
    y = te.compute((REGIONS, threads, lanes), lambda r, t, i: x[i] + 1.0, name="y")
    sch, block = begin([x, y])
    _, thread, vector = sch.get_loops(block)
    sch.parallel(thread)
    sch.vectorize(vector)
    return sch.mod


def runner(spec: TargetSpec, threads: int) -> tuple[Callable[[], Any], int]:
    """Compile the kernel; return one call of it, and the regions that this enters."""
    import numpy as np

    x = np.zeros(spec.lanes, np.float32)
    y = np.zeros((REGIONS, threads, spec.lanes), np.float32)
    return calling(regions_module(threads, spec.lanes), spec, threads, x, y), REGIONS
