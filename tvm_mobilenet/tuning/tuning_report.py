"""What tuning a network came to, as plain data: what each kernel and each trial amounts to.

It is laid out as a table for the terminal and as JSON here, and as a page by
:mod:`~tvm_mobilenet.tuning.page`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tvm_mobilenet.common.tables import Column, Table, Tabular, threads_text
from tvm_mobilenet.schedules.knobs import described, readable
from tvm_mobilenet.tuning.lines import Damage
from tvm_mobilenet.tuning.runs import Roofs, Spent
from tvm_mobilenet.tuning.status import Status
from tvm_mobilenet.tuning.trials import Trial

State = Literal["tuned", "rule", "open", "none"]
"""``tuned``: other knobs beat the rule's in turns; ``rule``: the rule's were kept; ``open``:
something seems faster and has not met the rule's yet; ``none``: nothing right ran."""


@dataclass(frozen=True, slots=True)
class TunedKernel:
    """One kernel, before and after.

    Attributes
    ----------
    operator, workload : str
        What it computes, and its key.
    layers : tuple of str
        Those of each call; empty where the network is not known.
    calls, macs, bytes : int
        As of a :class:`~tvm_mobilenet.tuning.runs.Part`.
    trials, failed : int
        That were finished, and those of them that failed.
    rule_s, best_s : float, optional
        Median times of one call: with the rule's knobs, and with what is kept.
    state : {"tuned", "rule", "open", "none"}
        What became of it.
    rule, knobs : dict
        The rule's answers, and what is kept.
    bound_s : float
        Time of one call with its multiply-adds at the peak; 0 where it is not known.
    """

    operator: str
    workload: str
    layers: tuple[str, ...]
    calls: int
    macs: int
    bytes: int
    trials: int
    failed: int
    rule_s: float | None
    best_s: float | None
    state: State
    rule: Mapping[str, int | str]
    knobs: Mapping[str, int | str]
    bound_s: float

    @property
    def is_rule(self) -> bool:
        """Whether the knobs that are kept are the rule's own."""
        return self.state in ("rule", "none")

    @property
    def changes(self) -> tuple[tuple[str, str, str], ...]:
        """Knob, the rule's answer, what is kept; those that differ."""
        return tuple(
            (name, str(self.rule.get(name, "-")), readable(value))
            for name, value in self.knobs.items()
            if self.rule.get(name) != value
        )

    @property
    def gain(self) -> float:
        """What was saved, a part of the rule's time."""
        return 1 - self.best_s / self.rule_s if self.best_s and self.rule_s else 0.0

    def settled(self) -> TunedKernel:
        """Return it as it is kept when a run is over: by the rule, where nothing was confirmed."""
        if self.state != "open" or self.rule_s is None:
            return self
        return dataclasses.replace(self, state="rule", best_s=self.rule_s, knobs=self.rule)

    @property
    def before_s(self) -> float:
        """All its calls with the rule's knobs; with the kept ones where the rule's did not run."""
        return self.calls * (self.rule_s or self.best_s or 0.0)

    @property
    def after_s(self) -> float:
        """All its calls with what is kept."""
        return self.calls * (self.best_s or 0.0)


@dataclass(frozen=True, slots=True)
class Step:
    """One trial on the way.

    Attributes
    ----------
    number : int
        From 1.
    trial : Trial
        As it was finished.
    with_s : float, optional
        The network with this candidate and the best of all others so far; None where it failed.
    best_s : float
        The network with the best so far. A kernel that was not tried yet counts with its
        first time.
    better : bool
        Whether this trial made it so.
    """

    number: int
    trial: Trial
    with_s: float | None
    best_s: float
    better: bool


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
    """One network on one target with one number of threads.

    Attributes
    ----------
    title : str
        The network's; "" where the folder does not say.
    target : str
        :func:`~tvm_mobilenet.tuning.records.target_key`.
    threads : int
        That ran it.
    rows : tuple of TunedKernel
        In the network's order.
    steps : tuple of Step
        In the order in which trials were finished.
    failures : dict of str to int
        By kind.
    spent : tuple of Spent
        One for each run.
    peak_gflops : float
        0 where it is not known.
    roofs : Roofs, optional
        How fast the machine reads.
    folder : str
        Where the records are.
    status : Status, optional
        The last one of a run that has just ended.
    problems : tuple of str
        Lines of the history that were skipped, comparisons that failed.
    """

    title: str
    target: str
    threads: int
    rows: tuple[TunedKernel, ...]
    steps: tuple[Step, ...]
    failures: Mapping[str, int]
    spent: tuple[Spent, ...]
    peak_gflops: float
    roofs: Roofs | None
    folder: str
    status: Status | None = None
    problems: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return one line; :meth:`table` has the rest."""
        return (
            f"<{type(self).__name__} {self.title} for {self.target}: kernels "
            f"{self.best_s * 1e3:.3f} ms, by rule {self.rule_s * 1e3:.3f}; "
            f"{len(self.steps)} trials>"
        )

    def table(self) -> Table:
        """Return a row for each kernel, what it cost, and where the records are."""
        rows = [tuple(getattr(row, column.name) for column in _COLUMNS) for row in self.rows]
        notes = [
            f"kernels alone: {self.best_s * 1e3:.3f} ms, by rule {self.rule_s * 1e3:.3f} "
            f"({self.gain:.1%} less), bound {self.bound_s * 1e3:.3f}",
        ]
        if (status := self.status) is not None:
            notes += [
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
    def trials(self) -> tuple[Trial, ...]:
        """In the order in which they were finished."""
        return tuple(step.trial for step in self.steps)

    @property
    def rule_s(self) -> float:
        """Sum of the kernels with the rule's knobs, seconds."""
        return sum(row.before_s for row in self.rows)

    @property
    def best_s(self) -> float:
        """Sum of the kernels with what is kept, seconds."""
        return sum(row.after_s for row in self.rows)

    @property
    def gain(self) -> float:
        """What was saved, a part of the rule's time."""
        return 1 - self.best_s / self.rule_s if self.rule_s else 0.0

    @property
    def bound_s(self) -> float:
        """Sum of the kernels' multiply-adds at the peak, seconds; 0 where it is not known."""
        return sum(row.calls * row.bound_s for row in self.rows)

    @property
    def machines(self) -> tuple[str, ...]:
        """Who measured."""
        return tuple(sorted({trial.machine for trial in self.trials}))

    @property
    def versions(self) -> tuple[str, ...]:
        """Versions of TVM that generated the code."""
        return tuple(sorted({trial.tvm for trial in self.trials}))

    @property
    def dates(self) -> tuple[str, str]:
        """Dates of the first and the last trial; "" without any."""
        dates = sorted(trial.date for trial in self.trials) or [""]
        return dates[0], dates[-1]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        status: dict[str, Any] = {"trials": len(self.steps)}
        if self.status is not None:
            status = {**dataclasses.asdict(self.status), "busy": self.status.busy}
        names = [column.name for column in _COLUMNS]
        return {
            "model": self.title,
            "target": self.target,
            "threads": self.threads,
            "rows": [
                {"operator": row.operator} | {name: getattr(row, name) for name in names}
                for row in self.rows
            ],
            "rule_s": self.rule_s,
            "best_s": self.best_s,
            **status,
            "problems": list(self.problems),
            "folder": self.folder,
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """All that a folder holds.

    Attributes
    ----------
    folder : Path
        A tuning run's log_dir.
    reports : tuple of TuningReport
        The most expensive kernels first. None where no trial was finished.
    damaged : tuple of Damage
        Lines that were skipped.
    """

    folder: Path
    reports: tuple[TuningReport, ...]
    damaged: tuple[Damage, ...]
