"""What this processor can do at most: independent multiply-adds in registers.

The bound of a network is its multiply-adds at this speed. It is measured, not
looked up, because clocks under wide vectors and the number of units differ
between machines of one name.

Measured by this module on 2 cores of a Zen 5 EPYC (znver5, AVX-512): 238 to
241 GFLOP/s on one thread; hand-written intrinsics give 238.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tvm_mobilenet.bench.kernel import calling, reducing_in_registers
from tvm_mobilenet.machine import Dtype, TargetSpec

CHAINS = 12
"""Accumulators. Two units with a latency of 4 cycles need 8 (Zen 5, Golden
Cove; 10 on Haswell); with the two operands, 14 vectors still fit into 16."""

STEPS = 2_000_000
"""Multiply-adds of a chain in one call: some milliseconds, so that entering a
parallel region (about 10 us) does not count."""


def operations(threads: int, lanes: int, steps: int = STEPS) -> int:
    """Return the floating-point operations of one call, two per multiply-add."""
    return 2 * threads * CHAINS * lanes * steps


def times_float32(spec: TargetSpec, stored: Dtype) -> float:
    """Return how many times as many multiply-adds of a type as of float32 a processor does.

    The peak is measured in float32 alone.
    """
    return spec.arithmetic(stored).macs / spec.arithmetic("float32").macs


def of_calls(spec: TargetSpec, calls: Iterable[Mapping[str, Any]]) -> float:
    """Return the same for all calls of a manifest together, each at the speed of its type."""
    told = [(call["macs"], times_float32(spec, call.get("stored", "float32"))) for call in calls]
    least = sum(macs / faster for macs, faster in told)
    return sum(macs for macs, _ in told) / least if least else 1.0


def chains_module(threads: int, lanes: int, steps: int = STEPS) -> Any:
    """Build the kernel: ``y[t, c, :] = y[t, c, :] * x + 1e-6``, so many steps.

    Parameters
    ----------
    threads : int
        Iterations of the parallel outer loop.
    lanes : int
        float32 elements in a vector register.
    steps : int
        Multiply-adds of a chain.

    Returns
    -------
    tvm.IRModule
        ``main(x, y)`` with x of (lanes,), y of (threads, CHAINS, lanes), float32.

    Notes
    -----
    Loops from outer to inner: thread (parallel), step, chain (unrolled), lane
    (vector). Registers: CHAINS accumulators, x and the constant. A step waits
    for the one before it in its own chain only, and no compiler may reorder
    float additions, so every operation is really done.
    """
    from tvm import te

    x = te.placeholder((lanes,), name="x")
    chain = te.comm_reducer(
        lambda y, v: y * v + te.const(1e-6, "float32"),
        lambda dtype: te.const(1.0, dtype),
        name="chain",
    )
    k = te.reduce_axis((0, steps), name="k")
    y = te.compute((threads, CHAINS, lanes), lambda t, c, i: chain(x[i], axis=k), name="y")
    return reducing_in_registers([x, y])


def runner(spec: TargetSpec, threads: int) -> tuple[Callable[[], Any], int]:
    """Compile the kernel; return one call of it, and its floating-point operations."""
    import numpy as np

    x = np.full(spec.lanes, 0.999, np.float32)
    y = np.zeros((threads, CHAINS, spec.lanes), np.float32)
    return calling(chains_module(threads, spec.lanes), spec, threads, x, y), operations(
        threads, spec.lanes
    )
