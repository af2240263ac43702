"""TVM's own tuners, each as something that learns from trials and proposes candidates.

Runs in a worker process, because TVM may hang or crash in it. A request says all that is known
of a workload, so that a process which takes another's place begins where that was.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload

Tried = tuple[Mapping[str, int | str], float | None]
"""Knobs, and seconds; None where they failed."""


class TvmSearch(Protocol):
    """One of TVM's tuners, its view of one workload."""

    def learn(self, tried: Sequence[Tried]) -> None:
        """Take in what became of candidates; those that it knows count once."""
        ...

    def propose(self) -> list[dict[str, Any]]:
        """Return knobs to try; none where its space gives no more."""
        ...


@functools.lru_cache(maxsize=64)
def _search(tuner: str, work_text: str, target_text: str, seed: int) -> Any:
    work, target = Workload.parse(work_text), TargetSpec.from_dict(json.loads(target_text))
    if tuner == "autotvm":
        from tvm_mobilenet.emit.relay.autotvm import AutoTvmSearch

        return AutoTvmSearch(work, target, seed)
    if tuner == "ansor":
        from tvm_mobilenet.emit.relay.ansor import AnsorSearch

        return AnsorSearch(work, target, seed)
    from tvm_mobilenet.tuning.metaschedule import MetaScheduleSearch

    return MetaScheduleSearch(work, target, seed)


def propose(request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask for candidates, or for lines of a tuner's own log.

    Parameters
    ----------
    request : mapping
        ``tuner``: "auto" (MetaSchedule), "autotvm" or "ansor"; ``work``, ``target``: fields of
        Workload and TargetSpec; ``seed``; ``tried``: trials of this workload; or ``log``: the
        same, each with its seconds since the epoch.

    Returns
    -------
    dict
        ``candidates``: knobs; or ``lines``, where a log was given: those that its format knows.
    """
    text = Workload.from_dict(request["work"]).text
    search = _search(request["tuner"], text, json.dumps(request["target"]), request["seed"])
    if "log" in request:
        lines = [search.line(*trial) for trial in request["log"]]
        return {"lines": [line for line in lines if line is not None]}
    search.learn([(knobs, seconds) for knobs, seconds in request["tried"]])
    return {"candidates": search.propose()}
