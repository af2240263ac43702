"""The outcome of a comparison, and the one JSON form of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tvm_mobilenet.common.tables import Column, Table, Tabular, threads_text

OURS = "tvm_mobilenet"
"""Name of this package's own runtime among the rows."""

PEAK, BANDWIDTH = "peak", "bandwidth"
"""Names of the workers that measure the machine instead of a network."""

ROUNDED = 0.2
"""Relative error beyond which a network in integers or bfloat16 is another: each runtime rounds
at other places. Different weights give errors of 1 and more."""

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
        Threads that each of its contexts was given.
    median_ms, p10_ms, p90_ms : float
        Latency of one call, NumPy in to NumPy out, over the calls of all rounds.
    calls : int
        How many calls those are.
    relative_error : float
        ``||output - ours|| / ||ours||`` on the same input; 0 for ours.
    version : str
        Version of the package that ran.
    min_ms, p99_ms, max_ms : float or None
        Fastest, 99th percentile and slowest of the same calls; None where nobody counted.
    calls_per_second : float or None
        Throughput of all contexts together, while they ran.
    """

    runtime: str
    threads: int
    median_ms: float
    p10_ms: float
    p90_ms: float
    calls: int = 0
    relative_error: float = 0.0
    version: str = ""
    min_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    calls_per_second: float | None = None

    @classmethod
    def of(
        cls, runtime: str, threads: int, seconds: Sequence[float], contexts: int = 1, **more: Any
    ) -> Row:
        """Summarize the times of calls, seconds each; `contexts` of them ran at a time."""
        import numpy as np

        ms = np.asarray(seconds) * 1e3
        p10, median, p90, p99 = map(float, np.quantile(ms, [0.1, 0.5, 0.9, 0.99]))
        rate = 1e3 * contexts / float(ms.mean())
        low, high = float(ms.min()), float(ms.max())
        return cls(
            runtime,
            threads,
            median,
            p10,
            p90,
            calls=len(ms),
            min_ms=low,
            p99_ms=p99,
            max_ms=high,
            calls_per_second=rate,
            **more,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the columns of the JSON form."""
        return {
            "runtime": self.runtime,
            "version": self.version,
            "threads": self.threads,
            "median_ms": self.median_ms,
            "min_ms": self.min_ms,
            "p10_ms": self.p10_ms,
            "p90_ms": self.p90_ms,
            "p99_ms": self.p99_ms,
            "max_ms": self.max_ms,
            "calls": self.calls,
        }


_ROW = (
    Column("runtime", kind="name"),
    Column("version", kind="word", priority=5),
    Column("threads"),
    Column("median_ms", "median ms", ".3f"),
    Column("min_ms", "min", ".3f", priority=4),
    Column("p10_ms", "p10", ".3f", priority=3),
    Column("p90_ms", "p90", ".3f", priority=2),
    Column("p99_ms", "p99", ".3f", priority=4),
    Column("max_ms", "max", ".3f", priority=4),
    Column("calls", priority=6),
    Column("images_per_second", "images/s", ".0f", priority=5),
    Column("gflops", "GFLOP/s", ".1f", priority=2),
    Column("share_of_peak", "of peak", ".1%", priority=1),
)
_PEERS = (
    Column("ratio", "ratio", ".3f", priority=1),
    Column("relative_error", "differs by", ".0e", priority=3),
)


@dataclass(frozen=True, slots=True, repr=False)
class BenchReport(Tabular):
    """Every runtime on every number of threads, and the bound they share.

    Attributes
    ----------
    model : str
        Title of the network, such as ``"MobileNet V1 1.0/224"``.
    macs : int
        Multiply-adds of one call; 2 floating-point operations each.
    peak_gflops : dict of int to float
        Threads → multiply-adds this machine can do, GFLOP/s: as measured in float32, and of the
        network's narrower types as many more as their instructions do; on as many threads as all
        contexts together have. Empty where nobody measured it.
    rows : tuple of Row
        In the order asked for, ours first among each number of threads.
    peak_spread : dict of int to float
        Threads → p90 over p10 of the peak's time. Nothing but the machine
        decides it: far above 1, others were using the processors.
    tolerance : float
        Relative error beyond which a peer does not compute the same network.
    batch : int
        Images of one call.
    contexts : int
        Copies of each runtime that ran at a time, each with its own threads.
    """

    model: str
    macs: int
    peak_gflops: dict[int, float]
    rows: tuple[Row, ...]
    peak_spread: dict[int, float] = field(default_factory=dict)
    tolerance: float = 1e-3
    batch: int = 1
    contexts: int = 1

    def __repr__(self) -> str:
        """Return one line; :meth:`table` has the rest."""
        told = ", ".join(
            f"{row.runtime} {row.median_ms:.3f} ms on {threads_text(row.threads)}"
            for row in self.rows
        )
        return f"<{type(self).__name__} {self.model}: {told}>"

    @property
    def bound_ms(self) -> dict[int, float]:
        """Threads → milliseconds that the multiply-adds alone take at the peak."""
        work = 2 * self.macs * self.contexts
        return {n: work / peak / 1e6 for n, peak in self.peak_gflops.items()}

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
        if not self.peak_gflops:
            return False
        few, many = min(self.peak_gflops), max(self.peak_gflops)
        fair = self.peak_gflops[few] * many / few
        return self.peak_gflops[many] < SCALING * fair

    def gflops(self, row: Row) -> float:
        """Return the arithmetic speed of a row in GFLOP/s, from its median."""
        return 2 * self.macs * self.contexts / row.median_ms / 1e6

    def images_per_second(self, row: Row) -> float:
        """Return the throughput of a row, of all its contexts together."""
        return self.batch * (row.calls_per_second or 1e3 * self.contexts / row.median_ms)

    def share(self, row: Row) -> float | None:
        """Return the share of the measured peak that a row reaches, 0 to 1; None without one."""
        peak = self.peak_gflops.get(row.threads)
        return None if peak is None else self.gflops(row) / peak

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; threads become text, as JSON keys are."""
        return {
            "model": self.model,
            "batch": self.batch,
            "contexts": self.contexts,
            "bound_ms": {str(threads): bound for threads, bound in self.bound_ms.items()},
            "rows": [
                {**row.to_dict(), "images_per_second": self.images_per_second(row)}
                for row in self.rows
            ],
            "ratio": {str(threads): dict(peers) for threads, peers in self.ratio.items()},
        }

    def table(self) -> Table:
        """Return a row for each runtime, and the bounds."""
        # Beside no peer there is nothing to compare with.
        peers = any(row.runtime != OURS for row in self.rows)
        rows = []
        for row in self.rows:
            ratio = self.ratio[row.threads].get(row.runtime)
            cells = {**row.to_dict(), "images_per_second": self.images_per_second(row)}
            cells |= {"gflops": self.gflops(row), "share_of_peak": self.share(row)}
            cells |= {"ratio": ratio, "relative_error": row.relative_error if ratio else None}
            rows.append(cells)
        bound = bool(self.peak_gflops)
        columns = tuple(one for one in _ROW if bound or one.name != "share_of_peak")
        columns += _PEERS * peers
        if self.batch * self.contexts > 1:
            # Then throughput is what is asked for.
            columns = tuple(
                dataclasses.replace(column, priority=0)
                if column.name == "images_per_second"
                else column
                for column in columns
            )
        told = f", batch {self.batch}" * (self.batch > 1)
        told += f", {self.contexts} contexts at a time" * (self.contexts > 1)
        bounds = tuple(
            f"{threads_text(threads)}: peak {self.peak_gflops[threads]:.0f} GFLOP/s, "
            f"bound {least:.3f} ms"
            for threads, least in self.bound_ms.items()
        )
        beyond = [row for row in self.rows if (self.share(row) or 0) > 1]
        bounds += (
            "faster than the peak that was measured, which is not possible: it was measured low, "
            "because others had the processors, and the shares of it are too large",
        ) * bool(beyond)
        return Table(
            "runtimes",
            f"{self.model}{told}",
            columns,
            tuple(tuple(row[column.name] for column in columns) for row in rows),
            bounds,
        )


def peak_of(seconds: Sequence[float], operations: int) -> tuple[float, float]:
    """Return the GFLOP/s of the peak's calls, and p90 over p10 of their times."""
    import numpy as np

    p10, median, p90 = map(float, np.quantile(seconds, [0.1, 0.5, 0.9]))
    return operations / median / 1e9, p90 / p10


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive values; NaN of none."""
    if not values:
        return math.nan
    return math.exp(sum(math.log(value) for value in values) / len(values))
