"""What a run tunes, and how: its settings, and a network's workloads with their trials."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tvm_mobilenet.common.limits import MOST_TRIALS
from tvm_mobilenet.errors import TuningError
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.tuning.proposer import Proposer
from tvm_mobilenet.tuning.space import identity
from tvm_mobilenet.tuning.trials import Trial, comparable
from tvm_mobilenet.tuning.worker_pool import PROGRAM

_BUILD_S, _MEASURE_S, _SEARCH_S = 30.0, 20.0, 300.0
_OPEN_S, _BOARD_S, _ALONE_S = 60.0, 600.0, 300.0


_SECONDS = (
    *("cool_down", "build_limit", "measure_limit", "search_limit"),
    *("open_limit", "board_limit", "quarantine"),
)
"""Which settings are seconds."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run is done.

    Attributes
    ----------
    trials : int
        Finished trials of this tuner's at which it ends, those of earlier runs included.
    cool_down : float
        Seconds of rest before each measurement.
    build_limit, measure_limit : float
        Seconds after which a candidate counts as hung.
    search_limit : float
        Seconds that one search of MetaSchedule's may take.
    open_limit : float
        Seconds that a board may take to open a session.
    board_limit : float
        Seconds that a run waits for a board when none can be used.
    quarantine : float
        Seconds for which a board that fails is left alone, while there are others.
    seed : int
        What the proposals are drawn from.
    program : tuple of str
        What builds and measures.
    tuner : str
        Who proposes: one of :data:`~tvm_mobilenet.tuning.generation.TUNERS`.
    """

    trials: int
    cool_down: float = 0.0
    build_limit: float = _BUILD_S
    measure_limit: float = _MEASURE_S
    search_limit: float = _SEARCH_S
    open_limit: float = _OPEN_S
    board_limit: float = _BOARD_S
    quarantine: float = _ALONE_S
    seed: int = 0
    program: tuple[str, ...] = PROGRAM
    tuner: str = "template"

    def __post_init__(self) -> None:
        whole = isinstance(self.trials, int) and not isinstance(self.trials, bool)
        if not whole or not 0 <= self.trials <= MOST_TRIALS:
            raise TuningError(
                f"{self.trials} trials asked for", f"give their number, 0 to {MOST_TRIALS}"
            )
        if not isinstance(self.seed, int) or self.seed < 0:
            raise TuningError(f"the seed is {self.seed!r}", "give a whole number, 0 or more")
        for setting in _SECONDS:
            if not 0 <= (seconds := getattr(self, setting)) < math.inf:
                raise TuningError(f"{setting} is {seconds}", "give seconds, 0 or more")


@dataclass(slots=True)
class Task:
    """One workload of the network.

    Attributes
    ----------
    work : Workload
        What its candidates compute.
    calls : int
        That the network makes of it.
    proposer : Proposer
        Who proposes its candidates.
    trials : list of Trial
        In their order, those of earlier runs included.
    """

    work: Workload
    calls: int
    proposer: Proposer
    trials: list[Trial] = field(default_factory=list)

    @property
    def rule(self) -> Trial | None:
        """The trial of the rule's knobs, if it ran."""
        rule = identity(self.proposer.space.rule)
        return next(
            (t for t in self.trials if t.outcome == "ok" and identity(t.knobs) == rule), None
        )

    def ranked(self, control: float) -> list[tuple[float, Trial]]:
        """Return the trials that ran with their comparable seconds, the fastest first."""
        timed = [(comparable(t, control), t) for t in self.trials if t.outcome == "ok"]
        return sorted(((s, t) for s, t in timed if s is not None), key=lambda pair: pair[0])
