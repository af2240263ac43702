"""Who of several boards measures, who was lost, and who is left alone for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tvm_mobilenet.tuning.status import Board

FAILURES = 3
"""Losses of a board, without a trial in between, after which it is left alone."""

_LONGEST_S = 3600.0


@dataclass(slots=True)
class _State:
    answers: int = 0
    trials: int = 0
    failures: int = 0
    row: int = 0
    """Failures since the last trial."""
    why: str = ""
    until: float = 0.0
    pause_s: float = 0.0


class BoardHealth:
    """How the boards that a run has met do.

    Parameters
    ----------
    pause_s : float
        Seconds for which a board is left alone at first; each time in a row it is twice as
        long, up to an hour.
    many : bool
        Whether others can be asked for instead. A board that is the only one is waited for.
    now : callable
        The clock.
    """

    def __init__(
        self, pause_s: float, many: bool, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._pause_s, self._many, self._now = pause_s, many, now
        self._boards: dict[str, _State] = {}

    def answered(self, where: str, trial: bool = True) -> None:
        """Note that a board has done what was asked; count it if that was a trial."""
        seen = self._boards.setdefault(where, _State())
        seen.answers += 1
        seen.trials += trial
        seen.row, seen.until, seen.pause_s = 0, 0.0, 0.0

    def failed(self, where: str, why: str, grave: bool) -> None:
        """Count a failure that is the board's own.

        It is `grave` where it is of no use to try again at once: the board is silent, or of
        another kind.
        """
        seen = self._boards.setdefault(where, _State())
        seen.failures += 1
        seen.row += 1
        seen.why = why
        if self._many and (grave or seen.row >= FAILURES):
            seen.pause_s = min(max(2 * seen.pause_s, self._pause_s), _LONGEST_S)
            seen.until = self._now() + seen.pause_s

    def alone(self) -> list[str]:
        """Return who is to be left alone just now."""
        return sorted(where for where, seen in self._boards.items() if seen.until > self._now())

    def serving(self) -> int:
        """Return how many boards measured when they were last asked to."""
        return sum(seen.answers > 0 and seen.row == 0 for seen in self._boards.values())

    def boards(self) -> tuple[Board, ...]:
        """Return what became of each, by name."""
        return tuple(
            Board(
                where,
                seen.trials,
                seen.failures,
                seen.why if seen.row else "",
                max(seen.until - self._now(), 0.0),
            )
            for where, seen in sorted(self._boards.items())
        )
