"""The report of a tuning folder as data: what each kernel and each trial amounts to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tvm_mobilenet.tuning.log import Damage
from tvm_mobilenet.tuning.runs import Roofs, Spent
from tvm_mobilenet.tuning.trials import Trial

State = Literal["tuned", "rule", "open", "none"]
"""``tuned``: other knobs beat the rule's in turns; ``rule``: the rule's were kept; ``open``:
something seems faster and has not met the rule's yet; ``none``: nothing right ran."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kernel, before and after.

    Attributes
    ----------
    operator, workload : str
    layers : tuple of str
        Of each call; empty where the network is not known.
    calls, macs, bytes : int
        As of a :class:`~tvm_mobilenet.tuning.runs.Part`.
    trials, failed : int
    rule_s, best_s : float, optional
        Median times of one call: with the rule's knobs, and with what is kept.
    state : {"tuned", "rule", "open", "none"}
    changes : tuple of (str, str, str)
        Knob, the rule's answer, what is kept; those that differ.
    bound_s : float
        Of one call: its multiply-adds at the peak; 0 where it is not known.
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
    changes: tuple[tuple[str, str, str], ...]
    bound_s: float

    @property
    def gain(self) -> float:
        """What was saved, a part of the rule's time."""
        return 1 - self.best_s / self.rule_s if self.best_s and self.rule_s else 0.0

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


@dataclass(frozen=True, slots=True)
class Section:
    """One network on one target with one number of threads.

    Attributes
    ----------
    title : str
        The network's; "" where the folder does not say.
    target : str
    threads : int
    rows : tuple of Row
        The most expensive first.
    steps : tuple of Step
    failures : dict of str to int
        By kind.
    spent : tuple of Spent
        One for each run.
    peak_gflops : float
        0 where it is not known.
    roofs : Roofs, optional
    """

    title: str
    target: str
    threads: int
    rows: tuple[Row, ...]
    steps: tuple[Step, ...]
    failures: Mapping[str, int]
    spent: tuple[Spent, ...]
    peak_gflops: float
    roofs: Roofs | None

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
        """Of TVM."""
        return tuple(sorted({trial.tvm for trial in self.trials}))

    @property
    def dates(self) -> tuple[str, str]:
        """Of the first and the last trial; "" without any."""
        dates = sorted(trial.date for trial in self.trials) or [""]
        return dates[0], dates[-1]


@dataclass(frozen=True, slots=True)
class Summary:
    """All that a folder holds.

    Attributes
    ----------
    folder : Path
    sections : tuple of Section
        None where no trial was finished.
    damaged : tuple of Damage
        Lines that were skipped.
    """

    folder: Path
    sections: tuple[Section, ...]
    damaged: tuple[Damage, ...]
