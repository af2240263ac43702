"""The history of a tuning run: one line for every finished trial, and for every choice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from tvm_mobilenet.tuning.lines import Damage, JsonLine, check_counts, check_texts, read_lines
from tvm_mobilenet.tuning.records import are_knobs

Outcome = Literal["ok", "unbuildable", "hung", "crashed", "wrong", "nan"]
"""``unbuildable``: no code came of it; ``hung``: no answer in time, while built or run;
``crashed``: its process died; ``wrong``: numbers beyond their bound, or a write outside its
output; ``nan``: numbers that are none."""

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial(JsonLine):
    """One candidate, and what became of it.

    Attributes
    ----------
    operator, workload, target, threads, machine, date, tvm
        As of a :class:`~tvm_mobilenet.tuning.records.Record`.
    tuner : str
        Who proposed it: ``"template"`` or ``"auto"``.
    knobs : mapping of str to int or str
        Its own, by name.
    outcome : {"ok", "unbuildable", "hung", "crashed", "wrong", "nan"}
        What became of it.
    seconds : float, optional
        Median time of a call, where it ran.
    control : float, optional
        Time of the control kernel just before and after.
    repeats, spread, error
        As of a record, where it ran.
    note : str
        What went wrong.
    """

    kind: ClassVar[str] = "trial"
    operator: str
    workload: str
    target: str
    threads: int
    tuner: str
    knobs: Mapping[str, int | str]
    outcome: Outcome
    seconds: float | None = None
    control: float | None = None
    repeats: int | None = None
    spread: float | None = None
    error: float | None = None
    note: str = ""
    machine: str
    date: str
    tvm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Final(JsonLine):
    """The last comparison of a workload: its fastest candidates, in turns.

    Attributes
    ----------
    workload, target, threads
        As of a record.
    candidates : list of mapping
        Knobs, the rule's first.
    seconds : list of float
        Median time of each.
    chosen : int
        Which of them was kept.
    """

    kind: ClassVar[str] = "final"
    workload: str
    target: str
    threads: int
    candidates: list[Mapping[str, int | str]]
    seconds: list[float]
    chosen: int


@dataclass(frozen=True, slots=True)
class History:
    """What a folder's history holds.

    Attributes
    ----------
    trials : tuple of Trial
        In the order in which they were finished.
    finals : dict of str to Final
        The last of each workload.
    damaged : tuple of Damage
        Lines that were skipped.
    """

    trials: tuple[Trial, ...]
    finals: dict[str, Final]
    damaged: tuple[Damage, ...]


def read_history(path: Path, target: str, threads: int) -> History:
    """Read what was tried for a target and a number of threads.

    Parameters
    ----------
    path : Path
        Need not be there.
    target : str
        :func:`~tvm_mobilenet.tuning.records.target_key`.

    Raises
    ------
    RecordsError
        It cannot be read.
    """
    groups, damaged = read_groups(path)
    found = groups.get((target, threads), History((), {}, ()))
    return History(found.trials, found.finals, damaged)


def read_groups(path: Path) -> tuple[dict[tuple[str, int], History], tuple[Damage, ...]]:
    """Read all that was tried: histories by target and threads, and lines that were skipped.

    Parameters
    ----------
    path : Path
        Need not be there.

    Raises
    ------
    RecordsError
        It cannot be read.
    """
    trials: dict[tuple[str, int], list[Trial]] = {}
    finals: dict[tuple[str, int], dict[str, Final]] = {}
    lines, damaged = read_lines(path, _parsed)
    for found in lines:
        group = (found.target, found.threads)
        trials.setdefault(group, [])
        finals.setdefault(group, {})
        if isinstance(found, Trial):
            trials[group].append(found)
        else:
            finals[group][found.workload] = found
    return (
        {group: History(tuple(trials[group]), finals[group], ()) for group in trials},
        tuple(damaged),
    )


def control_of(trials: Iterable[Trial]) -> float:
    """Return the median time of the control kernel over all trials; 0 without any."""
    times = sorted(trial.control for trial in trials if trial.control)
    return times[len(times) // 2] if times else 0.0


def comparable(trial: Trial, control: float) -> float | None:
    """Return the seconds of a trial at the clock that the control kernel usually found.

    Parameters
    ----------
    control : float
        From :func:`control_of`.
    """
    if trial.seconds is None or not trial.control or not control:
        return trial.seconds
    return trial.seconds * control / trial.control


def _parsed(kind: object, content: dict[str, Any]) -> Trial | Final:
    if kind == Final.kind:
        final = Final(**content)
        if len(final.candidates) != len(final.seconds) or not (
            0 <= final.chosen < len(final.seconds)
        ):
            raise ValueError("its candidates, seconds and chosen do not fit each other")
        _check(final, ("workload", "target"), final.seconds, final.candidates)
        return final
    if kind != Trial.kind:
        raise ValueError(f"kind is {kind!r}")
    trial = Trial(**content)
    if trial.outcome not in OUTCOMES:
        raise ValueError(f"outcome is {trial.outcome!r}")
    if (trial.outcome == "ok") != isinstance(trial.seconds, float):
        raise ValueError(f"outcome is {trial.outcome!r}, seconds are {trial.seconds!r}")
    texts = ("operator", "workload", "target", "tuner", "note", "machine", "date", "tvm")
    measures = [value for value in (trial.seconds, trial.control) if value is not None]
    _check(trial, texts, measures, [trial.knobs])
    return trial


def _check(
    item: Trial | Final, texts: Iterable[str], measures: Iterable[object], knobs: Iterable[object]
) -> None:
    """Refuse values that no writer of ours wrote: whoever reads a trial computes with them."""
    check_texts(item, *texts)
    check_counts(item, "threads", least=1)
    for value in measures:
        if not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ValueError(f"a time is {value!r}")
    for chosen in knobs:
        if not are_knobs(chosen):
            raise ValueError(f"knobs are {chosen!r}")
