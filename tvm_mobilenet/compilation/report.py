"""What a compilation did, layer by layer: schedule, source of its knobs, speed, share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tvm_mobilenet.common.tables import Column, Table, Tabular, by_size, layers_of, together
from tvm_mobilenet.schedules.knobs import described

if TYPE_CHECKING:
    from tvm_mobilenet.runtime.instrument import Profile


@dataclass(frozen=True, slots=True)
class KernelRow:
    """One kernel of the network.

    Attributes
    ----------
    layers : tuple of str
        Layers that it computes.
    operator, schedule : str
        Such as ``"pointwise"`` and ``"cpu.pointwise"``; ``"tvm"`` for a fallback,
        ``"metaschedule"`` for a recorded trace.
    source : {"rule", "record", "fallback"}
        Where its knobs came from.
    knobs : dict
        By name.
    shape : tuple of int
        Shape of the output, NCHW or NC.
    macs : int
        Multiply-adds.
    fusion : str
        Whether it computes layers that could have had two kernels, or one of them, and
        who says so: ``"yes, rule"``, ``"no, record"``; ``""`` where nothing was asked.
    predicted_us : float or None
        On a GPU: what its roofline says, microseconds; never measured.
    microseconds, share : float or None
        Time inside the network, and its part of all kernels' time; None where the
        artifact cannot run here.
    """

    layers: tuple[str, ...]
    operator: str
    schedule: str
    source: str
    knobs: dict[str, int | str]
    shape: tuple[int, ...]
    macs: int
    fusion: str = ""
    microseconds: float | None = None
    share: float | None = None
    predicted_us: float | None = None

    @property
    def gflops(self) -> float | None:
        """Billions of floating-point operations a second, two for each MAC."""
        if not self.microseconds or not self.macs:
            return None
        return 2 * self.macs / self.microseconds / 1e3


_COLUMNS = (
    Column("layers", show=together, kind="name"),
    Column("fusion", "fused", kind="word", priority=4),
    Column("schedule", kind="word", priority=2),
    Column("source", "knobs from", kind="word", priority=3),
    Column("knobs", show=described, kind="text", priority=6),
    Column("shape", "output", by_size, "word", priority=5),
    Column("macs", "MMACs", lambda macs: f"{macs / 1e6:.2f}", priority=3),
)
_TIMED = (
    Column("microseconds", "us", ".1f"),
    Column("gflops", "GFLOP/s", ".1f", priority=2),
    Column("share", "share", ".1%", priority=1),
)
_PREDICTED = (Column("predicted_us", "predicted us", ".1f"),)


@dataclass(frozen=True, slots=True, repr=False)
class CompileReport(Tabular):
    """All kernels of an artifact, in the order of execution.

    Attributes
    ----------
    title, target : str
        Model and target.
    macs : int
        Multiply-adds of the model.
    microseconds : float or None
        One whole call, from NumPy to NumPy.
    """

    title: str
    target: str
    rows: tuple[KernelRow, ...]
    macs: int
    microseconds: float | None = None

    def __repr__(self) -> str:
        """Return one line; :meth:`table` has the rest."""
        return f"<{type(self).__name__} {self.title} for {self.target}: {self._summary()}>"

    def table(self) -> Table:
        """Return a row for each kernel; times where it has them."""
        columns: tuple[Column, ...] = _COLUMNS
        if self.microseconds is not None:
            columns += _TIMED
        elif self._predicted:
            columns += _PREDICTED
        rows = []
        for kernel in self.rows:
            schedule = kernel.schedule
            cells = {column.name: getattr(kernel, column.name) for column in columns}
            if kernel.source == "fallback":
                schedule = f"tvm {kernel.operator}"
            rows.append(tuple({**cells, "schedule": schedule}.values()))
        title = f"{self.title} for {self.target}"
        return Table("kernels", title, columns, tuple(rows), (self._summary(),))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "model": self.title,
            "target": self.target,
            "macs": self.macs,
            "call_us": self.microseconds,
            "kernels": [{**asdict(row), "gflops": row.gflops} for row in self.rows],
        }

    @property
    def _predicted(self) -> float:
        return sum(kernel.predicted_us or 0.0 for kernel in self.rows)

    def _summary(self) -> str:
        told = f"{len(self.rows)} kernels, {len(self.fallbacks)} without a schedule of ours"
        if self.microseconds is not None:
            kernels = sum(kernel.microseconds or 0.0 for kernel in self.rows)
            speed = 2 * self.macs / self.microseconds / 1e3
            return (
                f"{told}; kernels {kernels / 1e3:.3f} ms, one call "
                f"{self.microseconds / 1e3:.3f} ms, {speed:.1f} GFLOP/s"
            )
        if self._predicted:
            ms = self._predicted / 1e3
            return f"{told}; predicted by the roofline, not measured: {ms:.3f} ms"
        return told

    @property
    def fallbacks(self) -> tuple[KernelRow, ...]:
        """Kernels without a schedule of ours."""
        return tuple(row for row in self.rows if row.source == "fallback")


def report_of(manifest: Mapping[str, Any], profile: Profile | None = None) -> CompileReport:
    """Make the report of an artifact.

    Parameters
    ----------
    manifest : mapping
        The artifact's.
    profile : Profile, optional
        Measured on the machine that it is for.
    """
    spans = [span for _, span in profile.calls] if profile else []
    rows = []
    for number, call in enumerate(manifest["calls"]):
        span = spans[number] if spans else None
        rows.append(
            KernelRow(
                layers_of(call),
                call["operator"],
                call["schedule"],
                call["source"],
                dict(call["knobs"]),
                tuple(call["output"]["shape"]),
                call["macs"],
                _fusion(call.get("fusion")),
                span,
                span / sum(spans) if span is not None else None,
                call.get("predicted_us"),
            )
        )
    return CompileReport(
        manifest["title"],
        manifest["target"]["name"],
        tuple(rows),
        manifest["macs"],
        profile.total if profile else None,
    )


def _fusion(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    return f"{'yes' if found['fused'] else 'no'}, {found.get('source', 'rule')}"
