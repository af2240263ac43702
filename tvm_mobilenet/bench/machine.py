"""What this machine can do: arithmetic, and bandwidth by level."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_mobilenet.bench.bandwidth import LEVELS, footprints
from tvm_mobilenet.bench.comparison import BANDWIDTH, PEAK, QUIET
from tvm_mobilenet.bench.pool import workers
from tvm_mobilenet.machine import TargetSpec, host

_ROUNDS, _SECONDS = 3, 0.15


@dataclass(frozen=True, slots=True)
class Machine:
    """The roofs over every kernel, measured on one number of threads together.

    Attributes
    ----------
    threads : int
        How many measured each figure together.
    peak_gflops : float
        Multiply-adds in registers, two operations each.
    bandwidth : dict of str to float
        Level (``"L2"``, ``"L3"``, ``"memory"``, from near to far) → GB/s, reading.
    capacity : dict of str to int
        Level → bytes that fit, of all threads' caches; memory is not listed.
    spread : float
        p90 over p10 of the peak's time: how quiet the machine was.
    """

    threads: int
    peak_gflops: float
    bandwidth: dict[str, float]
    capacity: dict[str, int]
    spread: float = 1.0

    @property
    def disturbed(self) -> bool:
        """Whether others were using the processors too much for these times to be worth much."""
        return self.spread > QUIET

    def with_peak(self, peak_gflops: float, spread: float) -> Machine:
        """Return this machine with a peak that was measured again, if that is higher."""
        if peak_gflops <= self.peak_gflops:
            return self
        return dataclasses.replace(self, peak_gflops=peak_gflops, spread=spread)

    def level_of(self, footprint: int) -> str:
        """Return the nearest measured level that holds so many bytes.

        Parameters
        ----------
        footprint : int
            Bytes.
        """
        for level in self.bandwidth:
            if footprint <= self.capacity.get(level, footprint):
                return level
        return LEVELS[-1]


def measure_machine(
    target: TargetSpec, threads: int, tell: Callable[[str], None] = lambda _: None
) -> Machine:
    """Measure this machine, each figure in a process of its own.

    Parameters
    ----------
    target : TargetSpec
        Whose instructions to use: that of the artifact.
    threads : int
        How many measure together.
    tell : callable
        Told what comes next.

    Raises
    ------
    PeerError
        A process died.
    """
    here = host()
    # The instructions are the artifact's, the caches are those of the machine it runs on.
    spec = dataclasses.replace(target, l2_bytes=here.l2_bytes, l3_bytes=here.l3_bytes)

    def rates(runtime: str, **options: Any) -> Any:
        tell(" ".join([runtime, *map(str, options.values())]))
        return _rates(spec, threads, runtime, **options)

    tell(PEAK)
    peak, spread, _ = measure_peak(spec, threads)
    bandwidth = {
        level: float(np.median(rates(BANDWIDTH, footprint=footprint))) / 1e9
        for level, footprint in footprints(spec, threads).items()
    }
    capacity = {"L2": threads * spec.l2_bytes, "L3": spec.l3_bytes}
    return Machine(
        threads,
        peak,
        bandwidth,
        {level: size for level, size in capacity.items() if level in bandwidth},
        spread,
    )


def measure_peak(target: TargetSpec, threads: int) -> tuple[float, float, float]:
    """Measure the multiply-adds that this processor can do.

    Returns
    -------
    float, float, float
        GFLOP/s, p90 over p10 of what it was from call to call, and GFLOP/s of the best call:
        what the others would have been, had nobody interrupted them.
    """
    rates = _rates(target, threads, PEAK)
    p10, median, p90 = map(float, np.quantile(rates, [0.1, 0.5, 0.9]))
    return median / 1e9, p90 / p10, float(rates.max()) / 1e9


def _rates(target: TargetSpec, threads: int, runtime: str, **options: Any) -> Any:
    """Return what a worker does in a second, one figure for each of its calls."""
    request = {"runtime": runtime, "threads": threads, "target": target.to_dict(), **options}
    with workers([request]) as (worker,):
        times = [time for _ in range(_ROUNDS) for time in worker.round(_SECONDS)]
        return worker.operations / np.array(times)
