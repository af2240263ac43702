"""What this machine can do: arithmetic, bandwidth by level, the price of a parallel region."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_mobilenet.bench.bandwidth import LEVELS, footprints
from tvm_mobilenet.bench.pool import workers
from tvm_mobilenet.bench.report import BANDWIDTH, PEAK, QUIET, REGION
from tvm_mobilenet.target import TargetSpec, host

_ROUNDS, _SECONDS = 3, 0.15


@dataclass(frozen=True, slots=True)
class Machine:
    """The roofs over every kernel, measured on one number of threads together.

    Attributes
    ----------
    threads : int
    peak_gflops : float
        Multiply-adds in registers, two operations each.
    bandwidth : dict of str to float
        Level (``"L2"``, ``"L3"``, ``"memory"``, from near to far) → GB/s, reading.
    capacity : dict of str to int
        Level → bytes that fit, of all threads' caches; memory is not listed.
    region_us : float
        One parallel region with nothing to do; 0 on one thread.
    spread : float
        p90 over p10 of the peak's time: how quiet the machine was.
    """

    threads: int
    peak_gflops: float
    bandwidth: dict[str, float]
    capacity: dict[str, int]
    region_us: float
    spread: float = 1.0

    @property
    def disturbed(self) -> bool:
        """Whether others were using the processors too much for these times to be worth much."""
        return self.spread > QUIET

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
        """Return what the worker does in a second, one figure for each of its calls."""
        tell(" ".join([runtime, *map(str, options.values())]))
        request = {"runtime": runtime, "threads": threads, "target": spec.to_dict(), **options}
        with workers([request]) as (worker,):
            times = [time for _ in range(_ROUNDS) for time in worker.round(_SECONDS)]
            return worker.operations / np.array(times)

    peak = rates(PEAK)
    p10, p90 = np.quantile(peak, [0.1, 0.9])
    bandwidth = {
        level: float(np.median(rates(BANDWIDTH, footprint=footprint))) / 1e9
        for level, footprint in footprints(spec, threads).items()
    }
    capacity = {"L2": threads * spec.l2_bytes, "L3": spec.l3_bytes}
    return Machine(
        threads,
        float(np.median(peak)) / 1e9,
        bandwidth,
        {level: size for level, size in capacity.items() if level in bandwidth},
        1e6 / float(np.median(rates(REGION))) if threads > 1 else 0.0,
        float(p90 / p10),
    )
