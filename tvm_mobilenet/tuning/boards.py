"""Boards that measure: as many runners as there are, and what happens when one is lost.

A lost board is not the candidate's fault: what it had is measured elsewhere, or when it is
back. One that fails again and again is left alone while others serve.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm_mobilenet.device import Description, open_device
from tvm_mobilenet.device.address import parse_address
from tvm_mobilenet.errors import DeviceLostError, TuningError
from tvm_mobilenet.target import TargetSpec
from tvm_mobilenet.tuning.crew import Crew, LostError
from tvm_mobilenet.tuning.task import Settings

QUARANTINE = 3
"""Failures of a board, without a trial in between, after which it is left alone."""

_MOST = 32
_STRIKES = 3
_REGROW_S = 60.0
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)


@dataclass(frozen=True, slots=True)
class Place:
    """Where candidates are measured, when that is not here.

    Attributes
    ----------
    address : str
        As :func:`tvm_mobilenet.device.open_device` takes it.
    machine : str
        What the boards there are.
    emulated : bool
    count : int
        How many.
    """

    address: str
    machine: str
    emulated: bool
    count: int


def find_place(address: str) -> tuple[Place, Description]:
    """Ask a device what it is, and how many of it there are.

    Raises
    ------
    DeviceError, AbiError
    """
    with open_device(address) as device:
        count = device.free()  # before the one that is asked is busy
        board = device.describe()
    board.check_versions()
    return Place(address, board.machine, board.emulated, min(max(count, 1), _MOST)), board


def check_board(target: TargetSpec, board: Description) -> None:
    """Refuse a target that a board cannot run.

    Raises
    ------
    TuningError
    """
    missing = sorted(set(target.needs) - set(board.features))
    if target.machine != board.target.machine:
        lacks = f"that is {board.target.machine}"
    elif missing:
        lacks = f"it lacks {', '.join(missing)}"
    elif target.cores > board.target.cores:
        lacks = f"it is planned for {target.cores} cores, and there are {board.target.cores}"
    else:
        return
    raise TuningError(
        f"{target.name} cannot be measured on {board.where}: {lacks}",
        "give another --target or --cores; native is what the board is",
    )


class Boards:
    """A crew whose members measure on boards; see :class:`~tvm_mobilenet.tuning.crew.Crew`.

    Parameters
    ----------
    place : Place
    settings : Settings
    tell : callable
        Told, in a sentence, that no board can be used just now.
    """

    def __init__(self, place: Place, settings: Settings, tell: Callable[[str], object]) -> None:
        self._place, self._settings, self._tell = place, settings, tell
        self._crew = Crew(place.count, settings.program)
        self._wanted, self._shrunk = place.count, 0.0
        self._failures: Counter[str] = Counter()
        # Others can be asked for instead at a tracker only.
        self._many = parse_address(place.address).kind == "tracker"

    def __enter__(self) -> Boards:
        self._crew.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._crew.__exit__()

    @property
    def quarantined(self) -> list[str]:
        """Boards that are left alone."""
        return [where for where, n in self._failures.items() if self._many and n >= QUARANTINE]

    def _blame(self, where: str) -> None:
        """Count a failure of a board; or that there was none to be had."""
        if where == self._place.address:
            self._wanted = max(self._wanted - 1, 1)
            self._shrunk = time.monotonic()
        else:
            self._failures[where] += 1

    def ask(self, request: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """Return the answer to one request; see :meth:`work`.

        Raises
        ------
        LostError, DeviceLostError
        """
        ((_, answer),) = self.work([request], limit_s)
        if isinstance(answer, LostError):
            raise answer
        return answer

    def work(
        self, requests: Sequence[Mapping[str, Any]], limit_s: float
    ) -> Iterator[tuple[int, dict[str, Any] | LostError]]:
        """Hand out requests until each is answered.

        Parameters
        ----------
        requests : sequence of mapping
            As :func:`tvm_mobilenet.tuning.timing.measure` takes them.
        limit_s : float
            For what a candidate does there; the board itself gets more.

        Yields
        ------
        int, dict or LostError
            Which request, and its answer, as they come.

        Raises
        ------
        DeviceLostError
            No board could be used for as long as the settings allow.
        """
        settings = self._settings
        waiting, strikes = list(range(len(requests))), Counter[int]()
        idle_since, pauses, note = time.monotonic(), iter(_PAUSES_S), ""
        pause = next(pauses)
        while waiting:
            again: list[int] = []
            if time.monotonic() - self._shrunk > _REGROW_S:
                self._wanted = self._place.count  # somebody may have started one again
            self._crew.resize(self._wanted)
            # A few at a time: each of them finds out by itself that no board answers.
            now, later = waiting[: 2 * self._wanted], waiting[2 * self._wanted :]
            batch = [self._addressed(requests[n], strikes[n], limit_s) for n in now]
            # Twice the candidate, and a session before, between and after.
            most = 4 * (limit_s + settings.open_limit) + settings.cool_down
            for at, answer in self._crew.work(batch, most):
                number = now[at]
                if isinstance(answer, LostError):
                    strikes[number] += 1
                    if strikes[number] >= _STRIKES:
                        yield number, answer
                        continue
                    note, answered = answer.note, False
                else:
                    for where in answer.pop("failed", ()):
                        self._blame(where)
                    answered = "outcome" in answer
                    if answered:
                        self._failures.pop(answer.pop("where"), None)
                        yield number, answer
                    else:
                        strikes[number], note = answer["strikes"], answer["note"]
                if answered:
                    idle_since, pauses = time.monotonic(), iter(_PAUSES_S)
                else:
                    again.append(number)
            waiting = sorted(again) + later
            if len(again) == len(now):
                pause = next(pauses, pause)
                self._wait(time.monotonic() - idle_since, pause, note)

    def _wait(self, idle_s: float, pause: float, note: str) -> None:
        """Wait for a board a little, or give up."""
        left = self._settings.board_limit - idle_s
        alone = (
            f"; in quarantine: {', '.join(sorted(self.quarantined))}" if self.quarantined else ""
        )
        if left <= 0:
            raise DeviceLostError(
                f"no board of {self._place.address} could be used for {idle_s:.0f} s: "
                f"{note}{alone}",
                "nothing that was measured is lost: start the boards and give the same command",
            )
        self._tell(f"waits for a board, {left:.0f} s more: {note}{alone}")
        time.sleep(min(pause, left))

    def _addressed(
        self, request: Mapping[str, Any], strikes: int, limit_s: float
    ) -> dict[str, Any]:
        return {
            **request,
            "device": self._place.address,
            "machine": self._place.machine,
            "avoid": self.quarantined,
            "open_limit": self._settings.open_limit,
            "run_limit": limit_s,
            "rest": self._settings.cool_down,
            "strikes": strikes,
        }
