"""How a kernel's work is cut into units, and whether threads share them."""

from __future__ import annotations

from typing import Any

from tvm_mobilenet.schedules.knobs import Knobs

from tvm_mobilenet.target import TargetSpec

_SERIAL_MACS = 400_000
"""Below this many multiply-adds a kernel runs on one thread: handing work to TVM's
pool and waiting for it costs about as long as the second thread would save
(measured: benchmarks/threads.py)."""


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


def share(sch: Any, loop: Any, macs: int, knobs: Knobs, target: TargetSpec) -> None:
    """Run a loop of independent units on all threads, where that pays.

    Parameters
    ----------
    sch : s_tir.Schedule
    loop : LoopRV
        The outermost loop.
    macs : int
        Multiply-adds of the whole kernel.
    knobs : Knobs
        Asked for ``"threads"``: ``"all"`` or ``"one"``.
    target : TargetSpec
    """
    units = int(sch.get(loop).extent)
    pays = target.cores > 1 and units > 1 and macs >= _SERIAL_MACS
    if knobs.choice("threads", ["all", "one"], "all" if pays else "one") == "all":
        sch.parallel(loop)
