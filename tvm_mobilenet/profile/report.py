"""The outcome of a profile, and the one JSON form of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tvm_mobilenet.bench.machine import Machine
from tvm_mobilenet.runtime.kernels import Split

BUSY = 0.05
"""Processors that others may keep busy before the figures are doubted."""


@dataclass(frozen=True, slots=True)
class KernelProfile:
    """One kernel of the network. Times in microseconds of one call.

    Attributes
    ----------
    layers : tuple of str
        Layers that it computes.
    kernel, operator, schedule : str
        Its symbol, what it is, and which schedule made it.
    macs : int
        Multiply-adds.
    moved : dict of str to int
        Bytes of its ``"input"``, ``"weights"`` and ``"output"``, each once: the
        least that it must move.
    network_us : float
        Between its neighbours in the network; about 0.3 are the call from Python.
    alone_us : float
        Again and again on the same buffers.
    compute_us : float
        Bound: its multiply-adds at the measured peak.
    memory_us : float
        Bound: its bytes, at the bandwidth of where they come from.
    level : str
        That place, for its activations.
    split : Split
        How threads share its work.
    threads : int
        How many there are.
    """

    layers: tuple[str, ...]
    kernel: str
    operator: str
    schedule: str
    macs: int
    moved: dict[str, int]
    network_us: float
    alone_us: float
    compute_us: float
    memory_us: float
    level: str
    split: Split
    threads: int

    @property
    def bound_us(self) -> float:
        """The larger of both bounds."""
        return max(self.compute_us, self.memory_us)

    @property
    def bound_by(self) -> str:
        """``"compute"``, or the level that its activations come from."""
        return "compute" if self.compute_us >= self.memory_us else self.level

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
        """Of the measured peak, in the network, 0 to 1."""
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
        """Time alone beyond the longest thread's part.

        Handing out and joining, what is serial in the kernel, and what threads
        take from each other (caches, clock). Near 0 it may be negative: noise.
        """
        return self.alone_us - self.split.longest_us if self.parallel else 0.0

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


@dataclass(frozen=True, slots=True)
class ProfileReport:
    """All kernels of an artifact, in the order of execution.

    Attributes
    ----------
    model, target : str
        Titles.
    machine : Machine
        The roofs, measured just before.
    rows : tuple of KernelProfile
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

    @property
    def threads(self) -> int:
        """Threads that each kernel used."""
        return self.machine.threads

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
            ``call`` and what it takes ``between`` kernels (virtual machine, input
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
