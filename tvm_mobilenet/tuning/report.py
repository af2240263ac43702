"""What a tuning run says: while it runs, and at its end."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tvm_mobilenet.schedules.knobs import described
from tvm_mobilenet.tables import Column, Table, Tabular, threads_text


@dataclass(frozen=True, slots=True)
class Board:
    """One of the boards that measure, and how it does.

    Attributes
    ----------
    where : str
        Its address.
    trials, failures : int
        Finished there by this run; and losses that were the board's own fault.
    why : str
        What is wrong with it since its last trial; "" while it measures.
    alone_s : float
        Seconds for which it is still left alone.
    """

    where: str
    trials: int
    failures: int
    why: str
    alone_s: float

    @property
    def name(self) -> str:
        """The address, without the tracker that gave it."""
        return self.where.rpartition("(")[2].rstrip(")")

    @property
    def summary(self) -> str:
        """What it did, in one line."""
        lost = f", lost {self.failures} times" if self.failures else ""
        now = f", now {'left alone' if self.alone_s else 'lost'}: {self.why}" * bool(self.why)
        return f"board {self.name}: {self.trials} trials{lost}{now}"


@dataclass(frozen=True, slots=True)
class Status:
    """How far a run is.

    Attributes
    ----------
    trials, budget : int
        Finished, those of earlier runs included; and wanted.
    fresh : int
        Finished by this run.
    start_s, now_s, bound_s : float
        Sum over the network's kernels, each alone: with the rule's knobs, with the best so
        far, and of their multiply-adds at the measured peak; 0 while unknown.
    failures : dict of str to int
        By kind.
    seconds, building_s, measuring_s : float
        Of this run: in all, building candidates, measuring them.
    workload : str
        What was tried last.
    waiting : str
        Why nothing is measured just now.
    boards : tuple of Board
        Those that were met, where candidates are not measured here.
    """

    trials: int
    budget: int
    fresh: int
    start_s: float
    now_s: float
    bound_s: float
    failures: Mapping[str, int]
    seconds: float
    building_s: float
    measuring_s: float
    workload: str = ""
    waiting: str = ""
    boards: tuple[Board, ...] = ()

    @property
    def rate(self) -> float:
        """Trials a second."""
        return self.fresh / self.seconds if self.seconds else 0.0

    @property
    def left_s(self) -> float:
        """Time left at this rate, seconds."""
        return max(self.budget - self.trials, 0) / self.rate if self.rate else 0.0

    @property
    def failed_text(self) -> str:
        """Failures by kind."""
        kinds = [f"{count} {kind}" for kind, count in sorted(self.failures.items())]
        return " ".join(kinds) or "none"

    @property
    def busy(self) -> float:
        """Part of the time that was building or measuring."""
        spent = self.building_s + self.measuring_s
        return spent / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Tuned:
    """One workload at the end of a run.

    Attributes
    ----------
    operator, workload : str
    calls : int
        That the network makes of it.
    trials : int
    rule_s, best_s : float, optional
        Median times of the rule's knobs and of those that were kept; None where nothing
        right ran.
    knobs : dict
        Kept.
    is_rule : bool
        Whether they are the rule's own.
    """

    operator: str
    workload: str
    calls: int
    trials: int
    rule_s: float | None
    best_s: float | None
    knobs: Mapping[str, int | str]
    is_rule: bool

    @property
    def gain(self) -> float:
        """What was saved, a part of the rule's time."""
        return 1 - self.best_s / self.rule_s if self.best_s and self.rule_s else 0.0


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.2f}"


_COLUMNS = (
    Column("workload", "kernel", kind="name", room=52),
    Column("calls", priority=3),
    Column("trials", priority=3),
    Column("rule_s", "rule us", _microseconds, priority=1),
    Column("best_s", "kept us", _microseconds),
    Column("gain", "gain", ".1%"),
    Column("is_rule", "kept", lambda rule: "rule" if rule else "tuned", "word", priority=2),
    Column("knobs", show=described, kind="text", priority=5),
)


@dataclass(frozen=True, slots=True, repr=False)
class TuningReport(Tabular):
    """The end of a run.

    Attributes
    ----------
    title : str
        The network.
    target : str
        :func:`~tvm_mobilenet.tuning.records.target_key`.
    threads : int
    rows : tuple of Tuned
    status : Status
        The last one.
    problems : tuple of str
        Lines of the history that were skipped, comparisons that failed.
    folder : str
        Where the records are.
    """

    title: str
    target: str
    threads: int
    rows: tuple[Tuned, ...]
    status: Status
    problems: tuple[str, ...]
    folder: str

    def __repr__(self) -> str:
        """Return one line; :meth:`table` has the rest."""
        return (
            f"<{type(self).__name__} {self.title} for {self.target}: kernels "
            f"{self.best_s * 1e3:.3f} ms, by rule {self.rule_s * 1e3:.3f}; "
            f"{self.status.trials} trials>"
        )

    def table(self) -> Table:
        """Return a row for each kernel, what it cost, and where the records are."""
        rows = [tuple(getattr(row, column.name) for column in _COLUMNS) for row in self.rows]
        status = self.status
        gain = 1 - self.best_s / self.rule_s if self.rule_s else 0.0
        notes = [
            f"kernels alone: {self.best_s * 1e3:.3f} ms, by rule {self.rule_s * 1e3:.3f} "
            f"({gain:.1%} less), bound {status.bound_s * 1e3:.3f}",
            f"{status.trials} trials, {status.fresh} of them now in {status.seconds:.0f} s: "
            f"{status.building_s:.0f} s building, {status.measuring_s:.0f} s measuring, "
            f"together {status.busy:.0%}; failed: {status.failed_text}",
            f"records: {self.folder}/{self.target}; use them with --records {self.folder}"
            + " and the same --device" * bool(status.boards),
            *(board.summary for board in status.boards),
        ]
        title = f"{self.title} for {self.target}, {threads_text(self.threads)}"
        return Table("kernels", title, _COLUMNS, tuple(rows), tuple(notes))

    @property
    def rule_s(self) -> float:
        """Sum of the kernels with the rule's knobs, seconds."""
        return sum(row.calls * (row.rule_s or 0.0) for row in self.rows)

    @property
    def best_s(self) -> float:
        """Sum of the kernels with the knobs that were kept, seconds."""
        return sum(row.calls * (row.best_s or 0.0) for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        status = dataclasses.asdict(self.status)
        return {
            "model": self.title,
            "target": self.target,
            "threads": self.threads,
            "rows": [{**dataclasses.asdict(row), "gain": row.gain} for row in self.rows],
            "rule_s": self.rule_s,
            "best_s": self.best_s,
            **status,
            "busy": self.status.busy,
            "problems": list(self.problems),
            "folder": self.folder,
        }
