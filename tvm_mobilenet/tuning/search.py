"""Which candidates to try next: evolution guided by the cost model, and whose turn it is."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tvm_mobilenet.tuning.model import CostModel
from tvm_mobilenet.tuning.space import Answers, Space, identity

PARENTS = 8
"""The fastest known, which children are made of."""

_CHILDREN, _STRANGERS = 64, 24
_AT_RANDOM = 0.2
"""Part of the proposals that the model is not asked about."""

_CROSSED, _NEXT, _TWICE = 0.3, 0.5, 0.4
"""How often a child has two parents, a number changes to the next one, two knobs change."""

_PATIENCE = 6
"""Schedules that are run for one proposal, until a space counts as searched."""

_SLOWING = 8
"""Trials after which a workload's prospects are half of what they were."""

_RECENT = 16

Key = frozenset[tuple[str, int | str]]


@dataclass(slots=True)
class Explorer:
    """Proposes candidates of one workload, never one that is known.

    Parameters
    ----------
    space : Space
    rng : random.Random

    Attributes
    ----------
    known : set
        Identities of what was tried or proposed.
    exhausted : bool
        Whether nothing new was found when it was last asked.
    """

    space: Space
    rng: random.Random
    known: set[Key] = field(default_factory=set)
    exhausted: bool = False
    _strangers: list[Answers] = field(default_factory=list)

    def propose(
        self, count: int, ranked: Sequence[Mapping[str, int | str]], model: CostModel
    ) -> list[Answers]:
        """Return up to `count` candidates; the rule's own before all others.

        Parameters
        ----------
        count : int
        ranked : sequence of mapping
            Knobs that ran, the fastest first.
        model : CostModel
        """
        found: list[Answers] = []
        self._take(self.space.rule, found)
        if len(found) == count:
            return found
        ideas = self._ideas(ranked, count)
        if model.knows and ideas:
            guesses = model.guess(self.space.work.key, ideas)
            ideas = [ideas[i] for i in guesses.argsort()]
        else:
            self.rng.shuffle(ideas)
        patience = _PATIENCE * count
        while len(found) < count and patience:
            patience -= 1
            if not ideas or self.rng.random() < _AT_RANDOM:
                self._take(self.space.sample(self.rng), found)
            else:
                self._take(self.space.nearest(ideas.pop(0)), found)
        self.exhausted = not found
        return found

    def _take(self, knobs: Answers, found: list[Answers]) -> None:
        key = identity(knobs)
        if key not in self.known:
            self.known.add(key)
            found.append(knobs)

    def _ideas(self, ranked: Sequence[Mapping[str, int | str]], count: int) -> list[Answers]:
        """Return what may be worth trying, unordered; allowed or nearly."""
        wanted = min(_STRANGERS - len(self._strangers), 2 * count)
        self._strangers.extend(self.space.sample(self.rng) for _ in range(wanted))
        parents = list(ranked[:PARENTS])
        children = [self._child(parents) for _ in range(_CHILDREN)] if parents else []
        fresh = {identity(idea): idea for idea in (*children, *self._strangers)}
        self._strangers = [s for s in self._strangers if identity(s) not in self.known]
        return [idea for key, idea in fresh.items() if key not in self.known]

    def _child(self, parents: Sequence[Mapping[str, int | str]]) -> Answers:
        rng = self.rng
        child = dict(rng.choice(parents))
        if rng.random() < _CROSSED:
            other = rng.choice(parents)
            child = {
                name: rng.choice([value, other.get(name, value)]) for name, value in child.items()
            }
        names = [name for name in child if len(self.space.options.get(name, ())) > 1]
        for name in rng.sample(names, min(len(names), 2 if rng.random() < _TWICE else 1)):
            child[name] = self._other(self.space.options[name], child[name])
        return child

    def _other(self, options: Sequence[int | str], value: int | str) -> int | str:
        """Return another option: often the next smaller or larger number."""
        numbers = sorted(option for option in options if isinstance(option, int))
        if isinstance(value, int) and self.rng.random() < _NEXT:
            below = [n for n in numbers if n < value][-1:]
            above = [n for n in numbers if n > value][:1]
            if near := below + above:
                return self.rng.choice(near)
        return self.rng.choice([option for option in options if option != value])


@dataclass(frozen=True, slots=True)
class Prospect:
    """What is known of a workload when trials are shared out.

    Attributes
    ----------
    calls : int
        That the network makes of it.
    bound : float
        Seconds below which no code can be.
    times : tuple of float
        Seconds of its trials in their order, infinity for failures.
    """

    calls: int
    bound: float
    times: tuple[float, ...]

    def gain(self, pending: int = 0) -> float:
        """Return what some more trials may save the network, seconds, as a guess to rank by.

        Parameters
        ----------
        pending : int
            Trials that were just shared out to it.
        """
        tried = len(self.times) + pending
        best = min(self.times, default=float("inf"))
        if best == float("inf"):
            # Nothing ran yet: once in turn, then no more often than others that may gain all.
            return float("inf") if not tried else self.calls * self.bound / tried
        before = min(self.times[:-_RECENT], default=best)
        recent = 1 - best / before if before != float("inf") else 0.0
        left = max(best - self.bound, 0.01 * best)
        return self.calls * (left / (1 + tried / _SLOWING) + recent * best)


def share_out(count: int, prospects: Mapping[str, Prospect]) -> dict[str, int]:
    """Share trials out among workloads, one after another to whom it promises most.

    Parameters
    ----------
    count : int
    prospects : mapping of str to Prospect
        By workload.

    Returns
    -------
    dict of str to int
        Trials for each workload that gets some; `count` in all.
    """
    shares: dict[str, int] = {}
    worth: Callable[[str], float] = lambda key: prospects[key].gain(shares.get(key, 0))  # noqa: E731
    for _ in range(count if prospects else 0):
        most = max(prospects, key=worth)
        shares[most] = shares.get(most, 0) + 1
    return shares
