"""How far a tuning run is, and how its boards do: what it tells while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Board:
    """One of the boards that measure, and how it does.

    Attributes
    ----------
    where : str
        Its address.
    trials, failures : int
        Finished there by this run; and losses that were the board's own fault.
    why : str
        What is wrong with it since its last trial; "" while it measures.
    alone_s : float
        Seconds for which it is still left alone.
    """

    where: str
    trials: int
    failures: int
    why: str
    alone_s: float

    @property
    def name(self) -> str:
        """The address, without the tracker that gave it."""
        return self.where.rpartition("(")[2].rstrip(")")

    @property
    def summary(self) -> str:
        """What it did, in one line."""
        lost = f", lost {self.failures} times" if self.failures else ""
        now = f", now {'left alone' if self.alone_s else 'lost'}: {self.why}" * bool(self.why)
        return f"board {self.name}: {self.trials} trials{lost}{now}"


@dataclass(frozen=True, slots=True)
class Status:
    """How far a run is.

    Attributes
    ----------
    trials, budget : int
        Finished, those of earlier runs included; and wanted.
    fresh : int
        Finished by this run.
    start_s, now_s, bound_s : float
        Sum over the network's kernels, each alone: with the rule's knobs, with the best so
        far, and of their multiply-adds at the measured peak; 0 while unknown.
    failures : dict of str to int
        By kind.
    seconds, building_s, measuring_s : float
        Time of this run: in all, building candidates, measuring them.
    workload : str
        What was tried last.
    waiting : str
        Why nothing is measured just now.
    boards : tuple of Board
        Those that were met, where candidates are not measured here.
    """

    trials: int
    budget: int
    fresh: int
    start_s: float
    now_s: float
    bound_s: float
    failures: Mapping[str, int]
    seconds: float
    building_s: float
    measuring_s: float
    workload: str = ""
    waiting: str = ""
    boards: tuple[Board, ...] = ()

    @property
    def rate(self) -> float:
        """Trials a second."""
        return self.fresh / self.seconds if self.seconds else 0.0

    @property
    def left_s(self) -> float:
        """Time left at this rate, seconds."""
        return max(self.budget - self.trials, 0) / self.rate if self.rate else 0.0

    @property
    def failed_text(self) -> str:
        """Failures by kind."""
        kinds = [f"{count} {kind}" for kind, count in sorted(self.failures.items())]
        return " ".join(kinds) or "none"

    @property
    def busy(self) -> float:
        """Part of the time that was building or measuring."""
        spent = self.building_s + self.measuring_s
        return spent / self.seconds if self.seconds else 0.0
