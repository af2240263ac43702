"""The history of a tuning run: one line for every finished trial, and for every choice."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tvm_mobilenet.tuning.log import Damage, fields_of, numbered
from tvm_mobilenet.tuning.records import VERSION

Outcome = Literal["ok", "unbuildable", "hung", "crashed", "wrong", "nan"]
"""``unbuildable``: no code came of it; ``hung``: no answer in time, while built or run;
``crashed``: its process died; ``wrong``: numbers beyond their bound, or a write outside its
output; ``nan``: numbers that are none."""

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One candidate, and what became of it.

    Attributes
    ----------
    operator, workload, target, threads, machine, date, tvm
        As of a :class:`~tvm_mobilenet.tuning.records.Record`.
    tuner : str
        Who proposed it: ``"template"`` or ``"auto"``.
    knobs : mapping of str to int or str
    outcome : {"ok", "unbuildable", "hung", "crashed", "wrong", "nan"}
    seconds : float, optional
        Median time of a call, where it ran.
    control : float, optional
        Time of the control kernel just before and after.
    repeats, spread, error
        As of a record, where it ran.
    note : str
        What went wrong.
    """

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

    def to_line(self) -> bytes:
        """Return the trial as JSON, ASCII, without a line break."""
        return _line("trial", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
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

    workload: str
    target: str
    threads: int
    candidates: list[Mapping[str, int | str]]
    seconds: list[float]
    chosen: int

    def to_line(self) -> bytes:
        """Return the comparison as JSON, ASCII, without a line break."""
        return _line("final", self)


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
    threads : int

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
    damaged: list[Damage] = []
    for number, line in numbered(path):
        try:
            found = _parsed(line)
        except (ValueError, TypeError, RecursionError) as error:
            damaged.append(Damage(path, number, str(error).splitlines()[0]))
            continue
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
    trial : Trial
    control : float
        From :func:`control_of`.
    """
    if trial.seconds is None or not trial.control or not control:
        return trial.seconds
    return trial.seconds * control / trial.control


def _line(kind: str, item: Any) -> bytes:
    fields = {f.name: getattr(item, f.name) for f in dataclasses.fields(item)}
    content = {k: v for k, v in fields.items() if v is not None and v != ""}
    return json.dumps(
        {"version": VERSION, "kind": kind, **content}, allow_nan=False, default=dict
    ).encode()


def _parsed(line: bytes) -> Trial | Final:
    kind, content = fields_of(line, VERSION)
    if kind == "final":
        final = Final(**content)
        if len(final.candidates) != len(final.seconds) or not (
            0 <= final.chosen < len(final.seconds)
        ):
            raise ValueError("its candidates, seconds and chosen do not fit each other")
        _check(final, ("workload", "target"), final.seconds, final.candidates)
        return final
    if kind != "trial":
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
    for name in texts:
        if not isinstance(getattr(item, name), str):
            raise ValueError(f"{name} is {getattr(item, name)!r}, not a text")
    if not isinstance(item.threads, int) or isinstance(item.threads, bool) or item.threads < 1:
        raise ValueError(f"threads is {item.threads!r}")
    for value in measures:
        if not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ValueError(f"a time is {value!r}")
    for chosen in knobs:
        if not isinstance(chosen, Mapping) or not all(
            isinstance(value, int | str) for value in chosen.values()
        ):
            raise ValueError(f"knobs are {chosen!r}")
