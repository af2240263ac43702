"""What a schedule can be asked to do: found out by planning it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.schedules.knobs import Knobs, NearestKnobs, SeededKnobs
from tvm_mobilenet.schedules.plans import plan, plans_for
from tvm_mobilenet.tuning.generation import generation

Answers = dict[str, int | str]
"""Knobs of one kernel, by name."""

Key = frozenset[tuple[str, int | str]]
"""What two equal sets of knobs have in common, whatever their order."""


def identity(knobs: Mapping[str, int | str]) -> Key:
    """Return the key of a set of knobs."""
    return frozenset(knobs.items())


class Space:
    """The knobs of one workload's schedule.

    There is no list of them: what a knob may be depends on the answers before it, so the
    plan is made, which takes no TVM and some 50 µs.

    Attributes
    ----------
    options : dict of str to list
        Every value that was seen to be allowed, by knob.
    rule : dict
        What the plan's own rule answers.
    """

    def __init__(self, work: Workload, target: TargetSpec) -> None:
        self.work = work
        self.options: dict[str, list[int | str]] = {}
        self._target = target
        self.rule = self._asked(Knobs())

    def sample(self, rng: random.Random) -> Answers:
        """Return an allowed set of knobs, each answered at random."""
        return self._asked(SeededKnobs(rng.getrandbits(32)))

    def nearest(self, wishes: Mapping[str, int | str]) -> Answers:
        """Return the allowed set of knobs that is next to a wish."""
        return self._asked(NearestKnobs(wishes))

    def _asked(self, knobs: Knobs) -> Answers:
        listening = _Listening(knobs, self.options)
        plan(self.work, listening, self._target, plans_for(self._target, generation().stack))
        return listening.chosen


class _Listening(Knobs):
    """Passes questions on, and remembers what may be answered."""

    def __init__(self, knobs: Knobs, seen: dict[str, list[int | str]]) -> None:
        super().__init__()
        self._inner = knobs
        self._seen = seen

    def _answer(self, name: str, options: Sequence[Any], default: Any) -> Any:
        known = self._seen.setdefault(name, [])
        known.extend(option for option in options if option not in known)
        return self._inner.choice(name, options, default)
