"""Candidates of TVM's own tuners, for ours: asked for in batches, none tried twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.tuning.proposer import Ask, Seen, Tried
from tvm_mobilenet.tuning.space import Answers, Key, Space, identity
from tvm_mobilenet.tuning.worker_pool import LostError

_NAMES = {"auto": "MetaSchedule", "autotvm": "AutoTVM", "ansor": "Ansor"}

_LOSSES = 3
"""Searches of one workload that may hang or crash, until no more is asked of it."""


@dataclass(slots=True)
class TvmProposer:
    """See :class:`~tvm_mobilenet.tuning.proposer.Proposer`.

    Attributes
    ----------
    tuner : {"auto", "autotvm", "ansor"}
        Who proposes: MetaSchedule, AutoTVM or Ansor.
    """

    space: Space
    target: TargetSpec
    seed: int
    tuner: str
    ask: Ask
    known: set[Key] = field(default_factory=set)
    exhausted: bool = False
    problems: list[str] = field(default_factory=list)
    _stock: list[Answers] = field(default_factory=list)

    def propose(self, count: int, seen: Seen) -> list[Answers]:
        """Return up to `count` candidates; the rule's own before all others."""
        found: list[Answers] = []
        if identity(self.space.rule) not in self.known:
            self._take(self.space.rule, found)
        while len(found) < count:
            if not self._stock and not self._search(seen.tried):
                break
            self._take(self._stock.pop(0), found)
        self.exhausted = not found
        return found

    def _take(self, knobs: Answers, found: list[Answers]) -> None:
        self.known.add(identity(knobs))
        found.append(knobs)

    def _search(self, tried: Sequence[Tried]) -> bool:
        """Ask for a batch; return whether anything new came of it."""
        who = _NAMES[self.tuner]
        request = {
            "do": "propose",
            "tuner": self.tuner,
            "work": dataclasses.asdict(self.space.work),
            "target": self.target.to_dict(),
            "seed": self.seed,
            "tried": [(dict(knobs), seconds) for knobs, seconds in tried],
        }
        while len(self.problems) < _LOSSES:
            try:
                answer = self.ask(request)
            except LostError as lost:
                self.problems.append(f"{who}'s search {lost.outcome}: {lost.note}")
                continue
            if "failed" in answer:
                self.problems.append(f"{who} has no space for it: {answer['failed']}")
                return False
            fresh = {identity(knobs): knobs for knobs in answer["candidates"]}
            self._stock = [knobs for key, knobs in fresh.items() if key not in self.known]
            return bool(self._stock)
        return False
