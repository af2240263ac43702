"""One schedule, several ways to choose: the knobs of a schedule, asked for by name.

A schedule never holds a number that could have been another one. It asks its
knobs, giving the choice's name, what may be answered, and what its own rule
would answer::

    pixels = knobs.choice("pixels", range(1, 15), default=7)

:class:`Knobs` answers by the rule or from a tuning record; :class:`SeededKnobs`
answers at random, and :class:`NearestKnobs` as near to a wish as the schedule allows:
what tests and the tuner explore a schedule with.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from tvm_mobilenet.errors import TvmMobilenetError

T = TypeVar("T", int, str)

TRACE = "trace"
"""The one knob of a schedule that MetaSchedule made: all its steps, as JSON."""

_SHOWN = 40


def described(knobs: Mapping[str, int | str]) -> str:
    """Return knobs as people read them, on one line."""
    return " ".join(f"{name}={readable(value)}" for name, value in knobs.items())


def readable(value: int | str) -> str:
    """Return a knob's value, a trace by its length."""
    text = str(value)
    return text if len(text) <= _SHOWN else f"({len(text)} characters)"


class KnobError(TvmMobilenetError):
    """A recorded knob that the schedule does not have, or a value it does not allow."""


class Knobs:
    """Answers from fixed values where there are some, else by the schedule's rule.

    Parameters
    ----------
    values : mapping of str to int or str, optional
        Knobs of a tuning record, by name. None leaves every choice to the rule.

    Attributes
    ----------
    chosen : dict
        What was answered so far, by name.
    source : {"rule", "record"}
        Where the answers came from.
    """

    def __init__(self, values: Mapping[str, int | str] | None = None) -> None:
        self.chosen: dict[str, int | str] = {}
        self.source = "rule" if values is None else "record"
        self._values = dict(values or {})

    def choice(self, name: str, options: Sequence[T], default: T) -> T:
        """Choose one of `options`.

        Parameters
        ----------
        name : str
            The knob, as records and reports call it.
        options : sequence
            What the schedule can do.
        default : int or str
            What its rule would do; one of `options`.

        Raises
        ------
        KnobError
            A recorded value is not among the options.
        """
        value = self._answer(name, options, default)
        if value not in options:
            raise KnobError(
                f"knob {name!r} is {value!r}, but the schedule allows {list(options)}",
                "the record was made by another version: delete its line, or tune again",
            )
        self.chosen[name] = value
        return value

    def trace(self) -> str | None:
        """Return a recorded trace, which leaves nothing to choose; None without."""
        if TRACE not in self._values:
            return None
        self.chosen[TRACE] = self._values[TRACE]
        return str(self._values[TRACE])

    def finish(self) -> None:
        """Refuse a record that names knobs which the schedule never asked for."""
        if unknown := sorted(set(self._values) - set(self.chosen)):
            raise KnobError(
                f"the schedule has no knob {', '.join(map(repr, unknown))}",
                "the record was made by another version: delete its line, or tune again",
            )

    def _answer(self, name: str, options: Sequence[T], default: T) -> T:
        return self._values.get(name, default)  # type: ignore[return-value]


class SeededKnobs(Knobs):
    """Answers at random, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.source = "random"
        self._random = random.Random(seed)

    def _answer(self, name: str, options: Sequence[T], default: T) -> T:
        return self._random.choice(list(options))


class NearestKnobs(Knobs):
    """Answers as wished where that is allowed: the nearest number, else the rule's answer.

    What a knob may be depends on the answers before it, so that a wish made of two
    answered sets need not be allowed as it is.
    """

    def __init__(self, wishes: Mapping[str, int | str]) -> None:
        super().__init__()
        self.source = "wish"
        self._wishes = dict(wishes)

    def _answer(self, name: str, options: Sequence[T], default: T) -> T:
        wish: Any = self._wishes.get(name, default)
        if wish in options:
            return wish  # type: ignore[no-any-return]
        apart = {abs(o - wish): o for o in options if isinstance(wish, int) and isinstance(o, int)}
        return apart[min(apart)] if apart else default
