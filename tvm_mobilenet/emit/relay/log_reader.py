"""AutoTVM's and Ansor's own logs, read: the best trial of each workload, as knobs.

What ``autotvm.apply_history_best`` and ``auto_scheduler.ApplyHistoryBest`` do for TOPI's
schedules. A line is JSON (python/tvm/autotvm/record.py, src/auto_scheduler/measure_record.cc
of TVM 0.19); nothing of it is executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tvm_mobilenet.emit.relay.autotvm import knobs_of
from tvm_mobilenet.errors import RecordsError
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.schedules.knobs import TRACE
from tvm_mobilenet.schedules.te.steps import WORKLOAD


@dataclass(frozen=True, slots=True)
class Logged:
    """One successful trial.

    Attributes
    ----------
    date : str
        ISO 8601.
    """

    work: Workload
    knobs: Mapping[str, int | str]
    seconds: float
    date: str


def best_of(path: Path, target: TargetSpec) -> tuple[list[Logged], list[str]]:
    """Read a log.

    Parameters
    ----------
    path : Path
        ``autotvm.json`` or ``ansor.json`` as a tuning run leaves it, or a file of such lines.
    target : TargetSpec
        Trials for any other are left out.

    Returns
    -------
    list of Logged, list of str
        The fastest of each workload; what could not be used, each a sentence.

    Raises
    ------
    RecordsError
        The file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordsError(f"{path} cannot be read: {error}", "name a log, or a folder") from error
    best: dict[str, Logged] = {}
    problems, others = [], 0
    for number, line in enumerate(lines, 1):
        try:
            content = json.loads(line)
            found = (_ansor if "i" in content else _autotvm)(content, target)
        except (
            ValueError,
            RecursionError,
            KeyError,
            TypeError,
            IndexError,
            AttributeError,
            OverflowError,
        ) as error:
            problems.append(f"{path}, line {number} is no trial of ours: {error!r}"[:300])
            continue
        if found is None:
            others += 1
        elif (known := best.get(found.work.key)) is None or found.seconds < known.seconds:
            best[found.work.key] = found
    if others:
        problems.append(f"{path}: {others} lines failed, or are not for {target.name}")
    return list(best.values()), problems


def _autotvm(content: Mapping[str, Any], target: TargetSpec) -> Logged | None:
    _, _, (work_text, target_text), _ = content["input"]
    (seconds, *_), wrong, _, stamp = content["result"]
    if wrong or _comparable(TargetSpec.from_dict(json.loads(target_text))) != _comparable(target):
        return None
    work = Workload.parse(work_text)
    knobs = knobs_of(work, target, {name: value for name, _, value in content["config"]["entity"]})
    return Logged(work, knobs, float(seconds), _date(stamp))


def _ansor(content: Mapping[str, Any], target: TargetSpec) -> Logged | None:
    import tvm

    (key, compiled_for, *_), steps = content["i"]
    (seconds, *_), wrong, _, stamp = content["r"]
    name, work_text = json.loads(key)
    if wrong or name != WORKLOAD or compiled_for != str(tvm.target.Target(target.tvm_dict())):
        return None
    knobs = {TRACE: json.dumps(steps, separators=(",", ":"))}
    return Logged(Workload.parse(work_text), knobs, float(seconds), _date(stamp))


def _comparable(target: TargetSpec) -> tuple[Any, ...]:
    """Return what has to be equal for a trial to mean something, as records have it."""
    caches = (target.l1_bytes, target.l2_bytes)
    return (target.machine, target.cpu, target.features, *caches, target.cores)


def _date(stamp: float) -> str:
    return datetime.fromtimestamp(stamp, timezone.utc).isoformat(timespec="seconds")
