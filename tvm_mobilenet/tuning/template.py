"""Candidates of our own schedules: evolution over their knobs, guided by the cost model."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tvm_mobilenet.schedules.knobs import TRACE
from tvm_mobilenet.tuning.proposer import Seen
from tvm_mobilenet.tuning.space import Answers, Key, Space, identity

PARENTS = 8
"""The fastest known, which children are made of."""

_CHILDREN, _STRANGERS = 64, 24
_AT_RANDOM = 0.2
"""Part of the proposals that the model is not asked about."""

_CROSSED, _NEXT, _TWICE = 0.3, 0.5, 0.4
"""How often a child has two parents, a number changes to the next one, two knobs change."""

_PATIENCE = 6
"""Schedules that are run for one proposal, until a space counts as searched."""


@dataclass(slots=True)
class TemplateProposer:
    """See :class:`~tvm_mobilenet.tuning.proposer.Proposer`."""

    space: Space
    rng: random.Random
    known: set[Key] = field(default_factory=set)
    exhausted: bool = False
    problems: list[str] = field(default_factory=list)
    _strangers: list[Answers] = field(default_factory=list)

    def propose(self, count: int, seen: Seen) -> list[Answers]:
        """Return up to `count` candidates; the rule's own before all others."""
        found: list[Answers] = []
        self._take(self.space.rule, found)
        if len(found) == count:
            return found
        timed = [(s, knobs) for knobs, s in seen.tried if s is not None and TRACE not in knobs]
        ideas = self._ideas([knobs for _, knobs in sorted(timed, key=lambda one: one[0])], count)
        model = seen.model()
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
