"""What a schedule can be asked to do: found out by planning it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.schedules.knobs import Knobs, SeededKnobs, WishedKnobs
from tvm_mobilenet.target import TargetSpec
from tvm_mobilenet.tuning import generation
from tvm_mobilenet.tuning.crew import LostError

Answers = dict[str, int | str]
"""Knobs of one kernel, by name."""


def identity(knobs: Mapping[str, int | str]) -> frozenset[tuple[str, int | str]]:
    """Return what two equal sets of knobs have in common, whatever their order."""
    return frozenset(knobs.items())


class Space:
    """The knobs of one workload's schedule.

    There is no list of them: what a knob may be depends on the answers before it, so the
    plan is made, without TVM; on a GPU the schedule itself.

    Parameters
    ----------
    work : Workload
    target : TargetSpec

    Attributes
    ----------
    options : dict of str to list
        Every value that was seen to be allowed, by knob.
    rule : dict
        What the schedule's own rule answers.
    ask : callable, optional
        Who runs a GPU's schedule elsewhere, given a request for
        :func:`tvm_mobilenet.tuning.worker.knobs`: some answers make TVM hang.
    """

    def __init__(self, work: Workload, target: TargetSpec) -> None:
        self.work = work
        self.options: dict[str, list[int | str]] = {}
        self._target = target
        self.ask: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self.rule = self._asked(Knobs())

    def sample(self, rng: random.Random) -> Answers | None:
        """Return an allowed set of knobs, each answered at random.

        None where whoever was asked did not survive it; so for :meth:`nearest`.
        """
        return self._answer({"seed": rng.getrandbits(32)})

    def nearest(self, wishes: Mapping[str, int | str]) -> Answers | None:
        """Return the allowed set of knobs that is next to a wish."""
        return self._answer({"wishes": dict(wishes)})

    def answer(self, question: Mapping[str, Any]) -> Answers:
        """Run the schedule here, for a ``seed`` or for ``wishes``."""
        if "seed" in question:
            return self._asked(SeededKnobs(question["seed"]))
        return self._asked(WishedKnobs(question["wishes"]))

    def _answer(self, question: dict[str, Any]) -> Answers | None:
        if self.ask is None:
            return self.answer(question)
        about = {"work": dataclasses.asdict(self.work), "target": self._target.to_dict()}
        try:
            found = self.ask({"do": "knobs", **about, **question})
        except LostError:
            return None
        for name, options in found["options"].items():
            known = self.options.setdefault(name, [])
            known.extend(option for option in options if option not in known)
        chosen: Answers = found["chosen"]
        return chosen

    def _asked(self, knobs: Knobs) -> Answers:
        listening = _Listening(knobs, self.options)
        try:
            generation.ask(self.work, self._target, listening)
        # TVM raises what its C++ names. The builder will meet the same, and count it.
        except Exception:
            return listening.chosen
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
