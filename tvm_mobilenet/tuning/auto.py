"""Candidates of TVM's own tuners, for ours: asked for in batches, none tried twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tvm_mobilenet.schedules.knobs import TRACE
from tvm_mobilenet.target import TargetSpec
from tvm_mobilenet.tuning.crew import LostError
from tvm_mobilenet.tuning.search import Key
from tvm_mobilenet.tuning.space import Answers, Space, identity

_LOSSES = 3
"""Searches of one workload that may hang or crash, until no more is asked of it."""


@dataclass(slots=True)
class AutoExplorer:
    """Proposes another tuner's candidates of one workload, never one that is known.

    Parameters
    ----------
    space : Space
        For the rule's knobs, which are its first trial.
    target : TargetSpec
    seed : int
    tuner : {"auto", "autotvm", "ansor"}
        Who proposes: MetaSchedule, AutoTVM or Ansor.

    Attributes
    ----------
    known : set
        Identities of what was tried or proposed.
    exhausted : bool
        Whether nothing new was found when it was last asked.
    problems : list of str
        Why there was nothing to propose.
    ask : callable
        Who searches, given a request for :func:`tvm_mobilenet.tuning.metaschedule.traces` or
        :func:`tvm_mobilenet.relay.proposing.classic`.
    """

    space: Space
    target: TargetSpec
    seed: int
    tuner: str = "auto"
    known: set[Key] = field(default_factory=set)
    exhausted: bool = False
    problems: list[str] = field(default_factory=list)
    ask: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    _stock: list[Answers] = field(default_factory=list)

    def propose(
        self, count: int, tried: Sequence[tuple[Mapping[str, int | str], float | None]]
    ) -> list[Answers]:
        """Return up to `count` candidates; the rule's own before all others.

        Parameters
        ----------
        count : int
        tried : sequence of (mapping, float or None)
            All trials of the workload, with their seconds.
        """
        found: list[Answers] = []
        if identity(self.space.rule) not in self.known:
            self._take(self.space.rule, found)
        while len(found) < count:
            if not self._stock and not self._search(tried):
                break
            self._take(self._stock.pop(0), found)
        self.exhausted = not found
        return found

    def _take(self, knobs: Answers, found: list[Answers]) -> None:
        self.known.add(identity(knobs))
        found.append(knobs)

    @property
    def _who(self) -> str:
        return {"auto": "MetaSchedule", "autotvm": "AutoTVM", "ansor": "Ansor"}[self.tuner]

    def _search(self, tried: Sequence[tuple[Mapping[str, int | str], float | None]]) -> bool:
        """Ask for a batch; return whether anything new came of it."""
        assert self.ask is not None
        request = {
            "work": dataclasses.asdict(self.space.work),
            "target": self.target.to_dict(),
            "seed": self.seed,
        }
        if self.tuner == "auto":
            known = [(k[TRACE], seconds) for k, seconds in tried if TRACE in k]
            request |= {"do": "traces", "tried": known}
        else:
            tried_so = [(dict(k), seconds) for k, seconds in tried]
            request |= {"do": "classic", "tuner": self.tuner, "tried": tried_so}
        while len(self.problems) < _LOSSES:
            try:
                answer = self.ask(request)
            except LostError as lost:
                self.problems.append(f"{self._who}'s search {lost.outcome}: {lost.note}")
                continue
            if "failed" in answer:
                self.problems.append(f"{self._who} has no space for it: {answer['failed']}")
                return False
            fresh: dict[Key, Answers] = {}
            candidates = answer.get("candidates") or [{TRACE: t} for t in answer.get("traces", ())]
            for knobs in candidates:
                fresh.setdefault(identity(knobs), knobs)
            self._stock = [knobs for key, knobs in fresh.items() if key not in self.known]
            return bool(self._stock)
        return False
