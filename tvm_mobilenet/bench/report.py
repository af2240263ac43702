"""The outcome of a comparison, and the one JSON form of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

OURS = "tvm_mobilenet"
"""Name of this package's own runtime among the rows."""

PEAK, BANDWIDTH, REGION = "peak", "bandwidth", "region"
"""Names of the workers that measure the machine instead of a network."""

QUIET = 1.1
"""Spread (p90 over p10) of the peak's time on a machine that does nothing else;
1.01 to 1.03 on a quiet 2-core Zen 5, 1.3 to 2 beside a test run."""

SCALING = 0.75
"""Part of the threads' peak, added up from fewer threads, below which cores were missing.
Clocks fall by less than that when all cores run wide vectors."""


@dataclass(frozen=True, slots=True)
class Row:
    """Latency of one runtime on one number of threads.

    Attributes
    ----------
    runtime : str
        :data:`OURS`, or the name of a peer.
    threads : int
        Threads it was given.
    median_ms, p10_ms, p90_ms : float
        Of one call, NumPy in to NumPy out, over the calls of all rounds.
    calls : int
        How many calls those are.
    relative_error : float
        ``||output - ours|| / ||ours||`` on the same input; 0 for ours.
    version : str
        Of the package that ran.
    """

    runtime: str
    threads: int
    median_ms: float
    p10_ms: float
    p90_ms: float
    calls: int = 0
    relative_error: float = 0.0
    version: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the columns of the JSON form."""
        return {
            "runtime": self.runtime,
            "threads": self.threads,
            "median_ms": self.median_ms,
            "p10_ms": self.p10_ms,
            "p90_ms": self.p90_ms,
        }


@dataclass(frozen=True, slots=True)
class BenchReport:
    """Every runtime on every number of threads, and the bound they share.

    Attributes
    ----------
    model : str
        Title of the network, such as ``"MobileNet V1 1.0/224"``.
    macs : int
        Multiply-adds of one call; 2 floating-point operations each.
    peak_gflops : dict of int to float
        Threads → fused multiply-adds this machine was measured to do, GFLOP/s.
    rows : tuple of Row
        In the order asked for, ours first among each number of threads.
    peak_spread : dict of int to float
        Threads → p90 over p10 of the peak's time. Nothing but the machine
        decides it: far above 1, others were using the processors.
    tolerance : float
        Relative error beyond which a peer does not compute the same network.
    """

    model: str
    macs: int
    peak_gflops: dict[int, float]
    rows: tuple[Row, ...]
    peak_spread: dict[int, float] = field(default_factory=dict)
    tolerance: float = 1e-3

    @property
    def bound_ms(self) -> dict[int, float]:
        """Threads → milliseconds that the multiply-adds alone take at the peak."""
        return {n: 2 * self.macs / peak / 1e6 for n, peak in self.peak_gflops.items()}

    @property
    def ratio(self) -> dict[int, dict[str, float]]:
        """Threads → peer → its median over ours; above 1 the peer is slower."""
        ours = {row.threads: row.median_ms for row in self.rows if row.runtime == OURS}
        ratios: dict[int, dict[str, float]] = {threads: {} for threads in ours}
        for row in self.rows:
            if row.runtime != OURS:
                ratios[row.threads][row.runtime] = row.median_ms / ours[row.threads]
        return ratios

    @property
    def disagreeing(self) -> tuple[Row, ...]:
        """Rows whose output is not ours; their times compare different networks."""
        # Written so that NaN counts as disagreement.
        return tuple(row for row in self.rows if not row.relative_error <= self.tolerance)

    @property
    def disturbed(self) -> bool:
        """Whether the machine was too busy for these times to be worth much.

        Its own peak varied, or more threads did not bring more of it: somebody had
        the other cores all the time.
        """
        if any(spread > QUIET for spread in self.peak_spread.values()):
            return True
        few, many = min(self.peak_gflops), max(self.peak_gflops)
        fair = self.peak_gflops[few] * many / few
        return self.peak_gflops[many] < SCALING * fair

    def gflops(self, row: Row) -> float:
        """Return the arithmetic speed of a row in GFLOP/s, from its median."""
        return 2 * self.macs / row.median_ms / 1e6

    def share(self, row: Row) -> float:
        """Return the share of the measured peak that a row reaches, 0 to 1."""
        return self.gflops(row) / self.peak_gflops[row.threads]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; threads become text, as JSON keys are."""
        return {
            "model": self.model,
            "bound_ms": {str(threads): bound for threads, bound in self.bound_ms.items()},
            "rows": [row.to_dict() for row in self.rows],
            "ratio": {str(threads): dict(peers) for threads, peers in self.ratio.items()},
        }


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive values; NaN of none."""
    if not values:
        return math.nan
    return math.exp(sum(math.log(value) for value in values) / len(values))
