"""What a run asks of whoever proposes candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tvm_mobilenet.tuning.cost_model import CostModel
from tvm_mobilenet.tuning.space import Answers, Key, Space

Tried = tuple[Mapping[str, int | str], float | None]
"""Knobs of a trial, and seconds; None where it failed."""

Ask = Callable[[dict[str, Any]], dict[str, Any]]
"""Lets a worker process answer a request for :func:`tvm_mobilenet.tuning.tvm_search.propose`."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known when somebody proposes.

    Attributes
    ----------
    tried : sequence of Tried
        All trials of the workload, in their order.
    model : callable
        Returns the cost model of the workload's operator, which all workloads have taught.
    """

    tried: Sequence[Tried]
    model: Callable[[], CostModel]


class Proposer(Protocol):
    """Proposes candidates of one workload, never one that is known.

    Attributes
    ----------
    space : Space
        For the rule's knobs, which are proposed before all others.
    known : set of Key
        Whatever was tried or proposed.
    exhausted : bool
        Whether nothing new was found when it was last asked.
    problems : list of str
        Why there was nothing to propose.
    """

    space: Space
    known: set[Key]
    exhausted: bool
    problems: list[str]

    def propose(self, count: int, seen: Seen) -> list[Answers]:
        """Return up to `count` candidates."""
        ...
