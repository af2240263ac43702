"""What a run asks of whoever measures candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from tvm_mobilenet.tuning.status import Board

Request = Mapping[str, Any]
"""As :func:`tvm_mobilenet.tuning.worker.measure` and ``compare`` take one."""


class Measurer(Protocol):
    """Measures candidates: the processor or the GPU of this machine, or boards.

    Attributes
    ----------
    machine : str
        What it is, as trials name it.
    emulated : bool
        Whether its times mean nothing.
    local : bool
        Whether it is this machine.
    measuring_s : float
        Time that went into it, seconds.
    """

    machine: str
    emulated: bool
    local: bool
    measuring_s: float

    @property
    def boards(self) -> tuple[Board, ...]:
        """Those that were met."""
        ...

    def open(
        self, folder: str, waits: Callable[[str], object]
    ) -> AbstractContextManager[object, bool | None]:
        """Have what measures; its processes leave their temporary files in `folder`.

        `waits` is told, in a sentence, that nothing can be measured just now.
        """
        ...

    def measure(self, requests: Sequence[Request]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Measure candidates; yield the number of each, and what became of it.

        Raises
        ------
        DeviceLostError
            No board measures any more.
        """
        ...

    def compare(self, request: Request, limit_s: float) -> list[list[float]]:
        """Let candidates of a workload run in turns; return their seconds by round.

        Raises
        ------
        LostError, DeviceLostError
            The candidates gave no answer; no board measures any more.
        """
        ...
