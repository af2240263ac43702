"""AutoTVM's and Ansor's own log files beside our records: what their own tools read."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from pathlib import Path

from tvm_mobilenet.common.files import written_aside
from tvm_mobilenet.tuning.tuner import Tuner
from tvm_mobilenet.tuning.worker_pool import LostError

LOGS = {"autotvm": "autotvm.json", "ansor": "ansor.json"}
"""A tuner's log, a line for every trial; in the folder of the target."""


def keep_own_log(tuner: Tuner, name: str, folder: Path) -> None:
    """Write all trials of a tuner in its own format, whole or not at all.

    Parameters
    ----------
    tuner : Tuner
        Its run is over.
    name : str
        Who proposed; nothing is written for one without a format of its own.
    folder : Path
        The target's.
    """
    if name not in LOGS:
        return
    lines: list[str] = []
    with tuner.ready():
        for task in tuner.tasks.values():
            trials = [trial for trial in task.trials if trial.tuner == name]
            request = {
                "do": "propose",
                "tuner": name,
                "work": dataclasses.asdict(task.work),
                "target": tuner.target.to_dict(),
                "seed": 0,
                "log": [
                    (dict(t.knobs), t.seconds, datetime.fromisoformat(t.date).timestamp())
                    for t in trials
                ],
            }
            try:
                lines += tuner.builder.ask(request).get("lines", [])
            except LostError as lost:
                tuner.notes.append(f"{task.work.key}: no line in {LOGS[name]}: {lost.note}")
    if lines:
        folder.mkdir(parents=True, exist_ok=True)
        with written_aside(folder / LOGS[name]) as aside:
            aside.writelines(line.encode() + b"\n" for line in lines)
