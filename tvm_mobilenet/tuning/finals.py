"""The end of a run: the fastest of each workload against the rule's knobs, in turns.

The fastest of many noisy measurements is the luckiest as much as the fastest. So a few
of them meet the rule's knobs again, and replace them only where they win by more than
such turns differ.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.tuning.records import Record, rounded
from tvm_mobilenet.tuning.space import identity
from tvm_mobilenet.tuning.store import Writer
from tvm_mobilenet.tuning.task import Task
from tvm_mobilenet.tuning.trials import Final, Trial, comparable
from tvm_mobilenet.tuning.tuner import Tuner
from tvm_mobilenet.tuning.worker_pool import LostError

LEAST_GAIN = 0.01
"""What a winner must save, a part of the rule's time: another build may move that much."""

_SIGMAS = 3.0
_FINALISTS = 3
_ROUNDS = 25
_LIMIT_S = 60.0


def settle(tuner: Tuner, finals: Mapping[str, Final]) -> tuple[dict[str, Final], list[str]]:
    """Decide for every workload, and keep a record of each.

    Parameters
    ----------
    tuner : Tuner
        Its run is over.
    finals : mapping of str to Final
        Earlier comparisons, by workload: one of the same candidates is not made again.

    Returns
    -------
    dict of str to Final
        What holds now, by workload.
    list of str
        Comparisons that failed, each a sentence; the rule's knobs are kept there.
    """
    wanted = {key: _finalists(task, tuner.control) for key, task in tuner.tasks.items()}
    made = {key: finals[key] for key, trials in wanted.items() if _same(finals.get(key), trials)}
    missing = [key for key, trials in wanted.items() if len(trials) > 1 and key not in made]
    problems = []
    if missing:
        with tuner.ready():
            for key in missing:
                found = _compared(tuner, tuner.tasks[key], wanted[key])
                if isinstance(found, str):
                    problems.append(f"{key}: the fastest and the rule's were not compared: {found}")
                else:
                    tuner.writer.append(found)
                    made[key] = found
    for key, trials in wanted.items():
        if trials:
            _keep(tuner.tasks[key], trials, made.get(key), tuner.writer, tuner.control)
    return made, problems


def choose(samples: NDArray[np.float64]) -> int:
    """Return which candidate to keep, given seconds by candidate and round; 0 is the rule's.

    Parameters
    ----------
    samples : ndarray of float64
        (candidates, rounds).
    """
    best = int(np.argmin(np.median(samples, axis=1)))
    if best == 0:
        return 0
    gains = 1 - samples[best] / samples[0]
    low, gain, high = np.quantile(gains, [0.25, 0.5, 0.75])
    # 1.25 sigma / sqrt(n), the median's standard error; sigma is IQR / 1.35.
    error = 0.93 * (high - low) / math.sqrt(samples.shape[1])
    return best if gain > max(LEAST_GAIN, _SIGMAS * error) else 0


def _finalists(task: Task, control: float) -> list[Trial]:
    """Return the rule's trial, and the fastest of those that seem to beat it."""
    ranked, rule = task.ranked(control), task.rule
    if rule is None:
        return [trial for _, trial in ranked[:1]]
    limit = (comparable(rule, control) or 0.0) * (1 - LEAST_GAIN / 2)
    better = [trial for seconds, trial in ranked if trial is not rule and seconds < limit]
    return [rule, *better[:_FINALISTS]]


def _same(final: Final | None, trials: list[Trial]) -> bool:
    return final is not None and [identity(knobs) for knobs in final.candidates] == [
        identity(trial.knobs) for trial in trials
    ]


def _compared(tuner: Tuner, task: Task, trials: list[Trial]) -> Final | str:
    """Build candidates anew and time them in turns, or say why that failed."""
    built = dict(tuner.builder.build([(task.work, trial.knobs) for trial in trials]))
    paths = {number: path for number, path in sorted(built.items()) if isinstance(path, str)}
    if 0 not in paths:
        return f"the rule's was not built: {built[0]}"
    try:
        samples = np.array(tuner.compare(task.work, list(paths.values()), _ROUNDS, _LIMIT_S))
    except LostError as lost:
        return f"{lost.outcome}: {lost.note}"
    finally:
        for path in paths.values():
            os.unlink(path)
    seconds = [float("inf")] * len(trials)
    for number, own in zip(paths, samples, strict=True):
        seconds[number] = rounded(float(np.median(own)))
    return Final(
        workload=task.work.key,
        target=trials[0].target,
        threads=trials[0].threads,
        candidates=[trial.knobs for trial in trials],
        seconds=[min(s, 1e9 - 1) for s in seconds],
        chosen=list(paths)[choose(samples)],
    )


def _keep(
    task: Task, trials: list[Trial], final: Final | None, writer: Writer, control: float
) -> None:
    """Keep the record of what was chosen."""
    chosen = trials[final.chosen if final else 0]
    seconds = final.seconds[final.chosen] if final else comparable(chosen, control)
    instead = final.seconds[0] if final else seconds
    assert seconds is not None
    assert chosen.repeats is not None
    writer.keep(
        Record(
            kind="kernel",
            operator=task.work.operator,
            workload=task.work.key,
            target=chosen.target,
            threads=chosen.threads,
            knobs=chosen.knobs,
            seconds=rounded(seconds),
            instead=rounded(instead) if task.rule is not None and instead is not None else None,
            repeats=_ROUNDS if final else chosen.repeats,
            spread=rounded(chosen.spread or 0.0),
            machine=f"{chosen.machine}, alone",
            date=chosen.date,
            verified=True,
            error=rounded(chosen.error or 0.0),
            tvm=chosen.tvm,
        ),
        instead=True,
    )
