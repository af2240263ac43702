"""What candidates of one workload are run on, and how one is checked and timed there.

A fixture is wherever a candidate runs: memory of this machine, of its GPU, or of a board.
Checking and timing are the same on all of them, and stand here.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Protocol

from tvm_mobilenet.errors import (
    DeviceCallError,
    GpuArchitectureError,
    GpuDriverError,
    VerificationError,
)
from tvm_mobilenet.tuning.sampling import NotANumberError, beside, repeated


class Candidate(Protocol):
    """A candidate that is loaded, on the buffers of a fixture."""

    def check(self) -> float:
        """Run it once; return its largest relative error.

        Raises
        ------
        VerificationError
            It is wrong.
        """
        ...

    def warm(self) -> tuple[float, int]:
        """Call it until it is warm; return seconds of a call, and how many make a sample."""
        ...

    def samples(self, count: int, number: int) -> list[float]:
        """Return seconds a call, `number` times, each the mean of `count` calls."""
        ...


class Fixture(Protocol):
    """The buffers that the candidates of one workload are run on.

    In a network the weights of a kernel were last used a whole call ago, and its input has just
    been written. So the weights take turns among as many copies as the network reads in
    between, up to several times L2, and the input stays where it is.

    Attributes
    ----------
    at_a_time : int
        Samples that are taken together once the least are there.
    """

    at_a_time: int

    def load(self, path: str) -> Candidate:
        """Make a candidate of a file ready to run."""
        ...

    def control(self) -> float:
        """Return seconds of the control kernel: the least of some calls."""
        ...


_OUTCOMES = (
    (NotANumberError, "nan"),
    (VerificationError, "wrong"),
    (DeviceCallError, "crashed"),
    ((GpuArchitectureError, GpuDriverError), "unbuildable"),
)
"""What it says of a candidate that its check or its timing ends so; the first that fits."""


def measured(fixture: Fixture, path: str, best: float | None) -> dict[str, Any]:
    """Check one candidate, and time it; not for long where it is far behind the best known.

    Returns
    -------
    dict
        ``outcome``, and ``seconds``, ``repeats``, ``spread``, ``control``, ``error``, or
        ``note``.
    """
    try:
        candidate = fixture.load(path)
        error = candidate.check()

        def repeat() -> tuple[float, int, float]:
            once, count = candidate.warm()
            take = functools.partial(candidate.samples, count)
            return repeated(take, once, best, fixture.at_a_time)

        timed = beside(fixture.control, repeat)
        candidate.check()
    except (VerificationError, DeviceCallError, GpuArchitectureError, GpuDriverError) as found:
        outcome = next(word for kinds, word in _OUTCOMES if isinstance(found, kinds))
        named = f"{type(found).__name__}: " if outcome == "unbuildable" else ""
        return {"outcome": outcome, "note": f"{named}{found.what}"}
    return {"outcome": "ok", "error": error, **timed}


def compared(fixture: Fixture, paths: Sequence[str], rounds: int) -> dict[str, Any]:
    """Time candidates in turns; return ``samples``: seconds by candidate and round."""
    candidates = [fixture.load(path) for path in paths]
    counts = [candidate.warm()[1] for candidate in candidates]
    samples: list[list[float]] = [[] for _ in candidates]
    for turn in range(rounds):
        for i in range(len(candidates)):
            at = (i + turn) % len(candidates)
            candidates[at].samples(max(counts[at] // 4, 1), 1)  # the caches are its own
            samples[at] += candidates[at].samples(counts[at], 1)
    return {"samples": samples}
