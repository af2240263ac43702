"""A comparison on a GPU, and the one JSON form of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from tvm_mobilenet.bench.comparison import OURS
from tvm_mobilenet.common.tables import Column, Table, Tabular


class Torch(NamedTuple):
    """A way to use PyTorch."""

    channels_last: bool
    compiled: bool
    how: str


TORCH: MappingProxyType[str, Torch] = MappingProxyType(
    {
        "torch-eager": Torch(False, False, "eager, NCHW"),
        "torch-channels-last": Torch(True, False, "eager, channels_last"),
        "torch-compile": Torch(
            True, True, 'channels_last, torch.compile(mode="max-autotune"): CUDA graphs'
        ),
    }
)
"""What ``--against torch`` stands for. cuDNN autotuned, TF32 off, batch norm folded."""

TOLERANCE: MappingProxyType[str, float] = MappingProxyType({"float32": 1e-3, "float16": 3e-2})
"""Relative difference of outputs beyond which a peer computes another network."""


@dataclass(frozen=True, slots=True)
class GpuRow:
    """One runtime. Milliseconds of a call of the whole batch.

    Attributes
    ----------
    runtime, version : str
        :data:`~tvm_mobilenet.bench.comparison.OURS` or a key of :data:`TORCH`, and its package's.
    device_ms, p10_ms, p90_ms : float
        From an input on the device to an output on it, calls one after the other: the
        median and how it varies.
    host_ms : float
        From NumPy array to NumPy array; median.
    relative_error : float
        ``||output - ours|| / ||ours||``; 0 for ours.
    failed : str
        Why there are no figures; ``""`` where there are.
    """

    runtime: str
    version: str
    device_ms: float = 0.0
    p10_ms: float = 0.0
    p90_ms: float = 0.0
    host_ms: float = 0.0
    relative_error: float = 0.0
    failed: str = ""


_COLUMNS = (
    Column("runtime", kind="name"),
    Column("version", kind="word", priority=5),
    Column("device_ms", "device ms", ".4f"),
    Column("p10_ms", "p10", ".4f", priority=3),
    Column("p90_ms", "p90", ".4f", priority=3),
    Column("host_ms", "host ms", ".4f", priority=2),
    Column("ratio", "ratio", ".3f", priority=1),
    Column("relative_error", "differs by", ".0e", priority=4),
    Column("how", " ", kind="text", priority=1),
)


@dataclass(frozen=True, slots=True, repr=False)
class GpuReport(Tabular):
    """Every runtime on one network, and what was predicted.

    Attributes
    ----------
    model : str
        Title.
    target, dtype : str
        What ours was compiled for, and what all store maps and weights as.
    batch, macs : int
        Images, and multiply-adds, of one call.
    gpu : dict of str to str
        What ran it: name, driver, clocks, versions.
    rows : tuple of GpuRow
        Ours first.
    predicted_ms : float or None
        By the roofline of the target's GPU, where that is what ran it.
    """

    model: str
    target: str
    dtype: str
    batch: int
    macs: int
    gpu: Mapping[str, str]
    rows: tuple[GpuRow, ...]
    predicted_ms: float | None = None
    tolerance: float = field(default=TOLERANCE["float32"])

    def __repr__(self) -> str:
        """Return one line; :meth:`table` has the rest."""
        told = ", ".join(f"{r.runtime} {r.device_ms:.4f} ms" for r in self.rows if not r.failed)
        return f"<{type(self).__name__} {self.model} on {self.gpu['device']}: {told}>"

    def table(self) -> Table:
        """Return a row for each runtime, and what was predicted."""
        rows: list[tuple[Any, ...]] = []
        for row in self.rows:
            if row.failed:
                nothing = [None] * (len(_COLUMNS) - 3)
                rows.append((row.runtime, row.version, *nothing, f"failed: {row.failed}"))
                continue
            ratio = self.ratio.get(row.runtime)
            error = None if ratio is None else row.relative_error
            times = (row.device_ms, row.p10_ms, row.p90_ms, row.host_ms)
            how = TORCH[row.runtime].how if row.runtime in TORCH else ""
            rows.append((row.runtime, row.version, *times, ratio, error, how))
        notes = [
            "device: from an input on it to an output on it, calls one after the other; host: "
            "from NumPy array to NumPy array. float32 is float32: TF32 is off.",
            ", ".join(f"{name} {value}" for name, value in self.gpu.items()),
        ]
        if self.predicted_ms is not None:
            notes.append(f"predicted for {self.target}: {self.predicted_ms:.4f} ms")
        title = f"{self.model}, batch {self.batch}, {self.dtype}, on {self.gpu['device']}"
        return Table("runtimes", title, _COLUMNS, tuple(rows), tuple(notes))

    @property
    def ratio(self) -> dict[str, float]:
        """Peer → its device time over ours; above 1 it is slower."""
        (ours,) = (row for row in self.rows if row.runtime == OURS)
        return {
            row.runtime: row.device_ms / ours.device_ms
            for row in self.rows
            if row.runtime != OURS and not row.failed
        }

    @property
    def disagreeing(self) -> tuple[GpuRow, ...]:
        """Rows whose output is not ours."""
        # Written so that NaN counts as disagreement.
        return tuple(
            row for row in self.rows if not row.failed and not row.relative_error <= self.tolerance
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "model": self.model,
            "target": self.target,
            "dtype": self.dtype,
            "batch": self.batch,
            "macs": self.macs,
            "gpu": dict(self.gpu),
            "predicted_ms": self.predicted_ms,
            "rows": [asdict(row) for row in self.rows],
            "ratio": self.ratio,
        }
