"""Boards that measure: as many runners as there are, and what happens when one is lost.

A lost board is not the candidate's fault: what it had is measured elsewhere, or when it is
back. One that fails again and again is left alone for a while
(:mod:`~tvm_mobilenet.tuning.roster`).
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm_mobilenet.device import Description, Device, open_device
from tvm_mobilenet.device.address import parse_address
from tvm_mobilenet.device.session import TIMEOUT_S
from tvm_mobilenet.errors import DeviceError, DeviceLostError, TuningError
from tvm_mobilenet.target import TargetSpec
from tvm_mobilenet.tuning.crew import Crew, LostError, only
from tvm_mobilenet.tuning.roster import Roster
from tvm_mobilenet.tuning.task import Settings

_MOST = 32
_STRIKES = 3
_LOOK_S, _LOOK_LIMIT_S = 10.0, 2.0
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


def has_many(address: str) -> bool:
    """Whether another board can be asked for there, instead of one that fails."""
    return parse_address(address).kind == "tracker"


def find_place(address: str, limit: float = TIMEOUT_S) -> tuple[Place, Description]:
    """Ask a device what it is, and how many of it there are.

    Parameters
    ----------
    address : str
        As :func:`tvm_mobilenet.device.open_device` takes it.
    limit : float
        How long an answer may take, seconds.

    Raises
    ------
    DeviceError, AbiError
    """
    with open_device(address, limit) as device:
        count = device.free()  # before the one that is asked is busy
        board = _first(device)
    board.check_versions()
    return Place(address, board.machine, board.emulated, min(max(count, 1), _MOST)), board


def _first(device: Device) -> Description:
    """Describe the first board that answers."""
    lost: list[str] = []
    first: DeviceError | None = None
    while True:
        try:
            return device.describe()
        except DeviceError as error:
            first = first or error
            nowhere = device.where == device.address.text or device.where in lost
            if nowhere or device.address.kind != "tracker":
                raise first from error
            lost.append(device.where)
            device.avoid(lost)


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
    roster : Roster
        Of this place; told what becomes of each board.
    folder : str
        For what the members leave behind when they are ended.
    tell : callable
        Told, in a sentence, that no board can be used just now.
    """

    def __init__(
        self,
        place: Place,
        settings: Settings,
        roster: Roster,
        folder: str,
        tell: Callable[[str], object],
    ) -> None:
        self._place, self._settings, self._roster = place, settings, roster
        self._tell = tell
        self._crew = Crew(place.count, settings.program, folder)
        self._wanted, self._looked = place.count, time.monotonic()

    def __enter__(self) -> Boards:
        self._crew.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._crew.__exit__()

    def _blame(self, where: str, why: str, grave: bool) -> None:
        """Count a failure of a board; or that there was none to be had."""
        if where == self._place.address and has_many(where):
            self._wanted = max(self._wanted - 1, 1)
        else:
            self._roster.failed(where, why, grave)

    def _look(self) -> None:
        """Ask now and then whether boards have come, or come back, that nobody uses."""
        if time.monotonic() - self._looked < _LOOK_S or not has_many(self._place.address):
            return
        self._looked = time.monotonic()
        # Whoever measures finds out too when the tracker is gone.
        with (
            contextlib.suppress(DeviceError),
            open_device(self._place.address, _LOOK_LIMIT_S) as device,
        ):
            found = self._roster.serving() + device.free()
            self._wanted = min(max(self._wanted, found), _MOST)

    def ask(self, request: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """Return the answer to one request; see :meth:`work`.

        Raises
        ------
        LostError, DeviceLostError
        """
        return only(self.work([request], limit_s))

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
        pause, rounds = next(pauses), 2
        while waiting:
            again: list[int] = []
            self._look()
            self._crew.resize(self._wanted)
            # A few at a time: each of them finds out by itself that no board answers.
            count = rounds * self._wanted
            now, later = waiting[:count], waiting[count:]
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
                    for where, why, grave in answer.pop("failed", ()):
                        self._blame(where, why, grave)
                    answered = "outcome" in answer
                    if answered:
                        trial = requests[number]["do"] == "measure"
                        self._roster.answered(answer.pop("where"), trial)
                        yield number, answer
                    else:
                        strikes[number], note = answer["strikes"], answer["note"]
                if answered:
                    idle_since, pauses, rounds = time.monotonic(), iter(_PAUSES_S), 2
                else:
                    again.append(number)
            waiting = sorted(again) + later
            if len(again) == len(now):
                pause, rounds = next(pauses, pause), 1
                self._wait(time.monotonic() - idle_since, pause, note)

    def _wait(self, idle_s: float, pause: float, note: str) -> None:
        """Wait for a board a little, or give up."""
        left = self._settings.board_limit - idle_s
        names = ", ".join(self._roster.alone())
        alone = f"; left alone: {names}" if names else ""
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
            "avoid": self._roster.alone(),
            "open_limit": self._settings.open_limit,
            "run_limit": limit_s,
            "rest": self._settings.cool_down,
            "strikes": strikes,
        }
