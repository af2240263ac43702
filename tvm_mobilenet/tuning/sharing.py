"""Whose turn it is: trials go to the workloads of which they promise to save the network most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

_SLOWING = 8
"""Trials after which a workload's prospects are half of what they were."""

_RECENT = 16


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
