"""The outcome of a profile, and the one JSON form of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tvm_mobilenet.bench.machine import Machine
from tvm_mobilenet.common.tables import Column, Table, Tabular, threads_text, together
from tvm_mobilenet.profile.bounds import Bounded
from tvm_mobilenet.runtime.kernels import Split

BUSY = 0.05
"""Processors that others may keep busy before the figures are doubted."""


@dataclass(frozen=True, slots=True)
class KernelProfile(Bounded):
    """One kernel, timed; its bounds are of what was measured of the machine.

    Attributes
    ----------
    moved : dict of str to int
        Bytes of its ``"input"``, ``"weights"`` and ``"output"``, each once: the
        least that it must move.
    network_us : float
        Between its neighbours in the network.
    alone_us : float
        Again and again on the same buffers.
    split : Split
        How threads share its work.
    threads : int
        How many there are.
    """

    moved: dict[str, int]
    network_us: float
    alone_us: float
    split: Split
    threads: int

    @property
    def bytes(self) -> int:
        """All that it must move."""
        return sum(self.moved.values())

    @property
    def gflops(self) -> float:
        """In the network, billions of operations a second, two for each multiply-add."""
        return 2 * self.macs / self.network_us / 1e3

    @property
    def share(self) -> float:
        """Part of the measured peak that it reaches in the network, 0 to 1."""
        return self.compute_us / self.network_us

    @property
    def gbytes(self) -> float:
        """GB/s in the network, counting each byte once."""
        return self.bytes / self.network_us / 1e3

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return 2 * self.macs / self.bytes

    @property
    def parallel(self) -> bool:
        """Whether it has a parallel region at all."""
        return self.split.regions > 0

    @property
    def waiting(self) -> float:
        """Share of the threads' time, 0 to 1, that uneven parts leave unused."""
        if not self.parallel:
            return 1 - 1 / self.threads
        return 1 - self.split.work_us / (self.threads * self.split.longest_us)

    @property
    def pool_us(self) -> float:
        """What its parallel regions take beyond their longest parts: handing out and joining."""
        return self.split.pool_us

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            **asdict(self),
            "bound_us": self.bound_us,
            "bound_by": self.bound_by,
            "gflops": self.gflops,
            "share_of_peak": self.share,
            "gbytes_per_second": self.gbytes,
            "operations_per_byte": self.intensity,
            "waiting": self.waiting,
            "pool_us": self.pool_us,
        }


_COLUMNS = (
    Column("layers", show=together, kind="name"),
    Column("network_us", "us in network", ".1f"),
    Column("alone_us", "alone", ".1f", priority=2),
    Column("bound_us", "bound", ".1f", priority=1),
    Column("bound_by", "by", kind="word", priority=1),
    Column("gflops", "GFLOP/s", ".1f", priority=3),
    Column("share", "of peak", ".1%"),
    Column("bytes", "MB", lambda count: f"{count / 1e6:.2f}", priority=4),
    Column("gbytes", "GB/s", ".1f", priority=4),
)
_THREADED = (
    Column("waiting", "uneven", ".1%", priority=2),
    Column("pool_us", "pool us", ".1f", priority=3),
)


@dataclass(frozen=True, slots=True, repr=False)
class ProfileReport(Tabular):
    """All kernels of an artifact, timed.

    Attributes
    ----------
    model, target : str
        Titles.
    machine : Machine
        The roofs, measured just before.
    rows : tuple of KernelProfile
        In the order of execution.
    call_us : float
        One whole call, from NumPy to NumPy.
    busy : float
        Processors that others kept busy meanwhile.
    """

    model: str
    target: str
    machine: Machine
    rows: tuple[KernelProfile, ...]
    call_us: float
    busy: float = 0.0

    def __repr__(self) -> str:
        """Return one line; :meth:`table` has the rest."""
        share = self.totals()["compute"] / self.call_us
        return (
            f"<{type(self).__name__} {self.model} for {self.target}: {self.call_us / 1e3:.3f} ms "
            f"on {threads_text(self.threads)}, {share:.1%} of the peak>"
        )

    def table(self) -> Table:
        """Return a row for each kernel, and sums."""
        columns = _COLUMNS + _THREADED * (self.threads > 1)
        rows = []
        for row in self.rows:
            cells = {column.name: getattr(row, column.name) for column in columns}
            if not row.macs:
                cells |= {"gflops": None, "share": None}
            if self.threads > 1 and not row.parallel:
                cells |= {"waiting": None, "pool_us": None}
            rows.append(tuple(cells.values()))
        title = f"{self.model} for {self.target}, {threads_text(self.threads)}"
        return Table("kernels", title, columns, tuple(rows), (*self._roofs(), *self._sums()))

    def _roofs(self) -> list[str]:
        bandwidth = ", ".join(f"{at} {speed:.0f}" for at, speed in self.machine.bandwidth.items())
        peak = self.machine.peak_gflops
        lines = [f"measured: peak {peak:.0f} GFLOP/s; reading, GB/s: {bandwidth}"]
        if beyond := self.beyond_peak:
            most = max(beyond, key=lambda row: row.share)
            lines.append(
                f"{len(beyond)} of {len(self.rows)} kernels are faster than that peak "
                f"({together(most.layers)}: {most.share:.0%} of it): it was measured low, because "
                "others had the processors or the clock was down, and all shares are too large"
            )
        return lines

    def _sums(self) -> list[str]:
        totals = self.totals()

        def part(name: str) -> str:
            return f"{totals[name]:.0f} us ({totals[name] / totals['call']:.1%})"

        lines = [
            f"one call {totals['call'] / 1e3:.3f} ms, {totals['compute'] / totals['call']:.1%} of "
            f"the peak; its kernels {totals['network'] / 1e3:.3f} ms in the network, "
            f"{totals['alone'] / 1e3:.3f} ms alone; their bounds {totals['bound'] / 1e3:.3f} ms",
            f"between kernels (Python, input and output): {part('between')}",
        ]
        if self.threads > 1:
            regions = sum(row.split.regions for row in self.rows)
            serial = [together(row.layers) for row in self.rows if not row.parallel]
            alone = f" ({', '.join(serial)})" if serial else ""
            lines.append(
                f"lost by threads: {part('uneven')} to uneven parts, {part('serial')} to kernels "
                f"on one thread{alone}, {part('pool')} to the pool in {regions} parallel regions"
            )
        return lines

    @property
    def threads(self) -> int:
        """Threads that each kernel used."""
        return self.machine.threads

    @property
    def beyond_peak(self) -> tuple[KernelProfile, ...]:
        """Kernels that did more than the processor can, as it was measured: a peak too low."""
        return tuple(row for row in self.rows if row.share > 1)

    @property
    def disturbed(self) -> bool:
        """Whether others used the processors too much for these figures to be worth much."""
        return self.machine.disturbed or self.busy > BUSY

    def totals(self) -> dict[str, float]:
        """Add up.

        Returns
        -------
        dict of str to float
            Microseconds of one call: ``network`` and ``alone`` over the kernels,
            their ``compute`` bounds and the larger ones (``bound``), the whole
            ``call`` and what it takes ``between`` kernels (Python, input
            and output). On several threads: ``uneven``, lost in parallel kernels
            to parts that are not equal; ``serial``, lost in kernels that run on
            one thread; ``pool``, in parallel kernels beyond their longest parts.
        """
        rows, even = self.rows, 1 - 1 / self.threads
        network = sum(row.network_us for row in rows)
        parallel = [row for row in rows if row.parallel]
        return {
            "network": network,
            "alone": sum(row.alone_us for row in rows),
            "compute": sum(row.compute_us for row in rows),
            "bound": sum(row.bound_us for row in rows),
            "call": self.call_us,
            "between": self.call_us - network,
            "uneven": sum(row.waiting * row.split.longest_us for row in parallel),
            "serial": sum(row.alone_us * even for row in rows if not row.parallel),
            "pool": sum(row.pool_us for row in parallel) if self.threads > 1 else 0.0,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "model": self.model,
            "target": self.target,
            "threads": self.threads,
            "machine": asdict(self.machine),
            "rows": [row.to_dict() for row in self.rows],
            "totals_us": self.totals(),
            "disturbed": self.disturbed,
        }
