"""What stays on a board from trial to trial: a session, its control kernel, its fixture."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tvm_mobilenet.device import Device, Session, open_device
from tvm_mobilenet.device.description import describe
from tvm_mobilenet.errors import DeviceError, TvmMobilenetError
from tvm_mobilenet.tuning import sampling
from tvm_mobilenet.tuning.board_fixture import BoardFixture

_AGE_S = 1200.0
"""After which a session is replaced: servers end theirs after an hour, and what was
uploaded goes with the session only."""

_USES = 500
"""After which it is, too: what was uploaded fills disk and memory."""


class BoardSession:
    """A session that is kept from request to request, and what is set up in it.

    Attributes
    ----------
    where : str
        The board that it is with, or was last asked for.
    """

    def __init__(self, address: str, limit: float) -> None:
        self._address, self._limit = address, limit
        self._device: Device | None = None
        self._session: Session | None = None
        self._opened, self._uses = 0.0, 0
        self._known: dict[str, str] = {}
        self._fixture: tuple[str, BoardFixture] | None = None
        self._control: Callable[[], float] = lambda: 0.0
        self.where = address

    def open(self, request: Mapping[str, Any]) -> None:
        """Have a session; a new one if there is none, or it is old or with a board to avoid."""
        avoid: list[str] = request["avoid"]
        if self._device is not None:
            self._device.avoid(avoid)
        self._uses += 1
        if (
            self._session is not None
            and self._session.where not in avoid
            and time.monotonic() - self._opened < _AGE_S
            and self._uses < _USES
        ):
            return
        self.drop()
        try:
            if self._device is None:
                self.where = self._address
                self._device = open_device(self._address, self._limit)
                self._device.avoid(avoid)
            try:
                self._session = self._device.session()
            finally:
                self.where = self._device.where
            self._opened, self._uses = time.monotonic(), 0
            self._check(self._session, request["machine"])
            self._control = _control(self._session, request)
            self._control()
        except TvmMobilenetError:
            self.drop()
            if self._device is not None:  # behind ssh, the server itself may be gone
                self._device.close()
                self._device = None
            raise

    def drop(self) -> None:
        """Close the session."""
        self._fixture = None
        if self._session is not None:
            self._session.close()
            self._session = None

    def fixture(self, request: Mapping[str, Any]) -> BoardFixture:
        """Return the buffers of a request's workload."""
        assert self._session is not None
        key = repr((request["work"], request["cold_bytes"]))
        if self._fixture is None or self._fixture[0] != key:
            self._fixture = None  # frees the old one's memory first
            self._fixture = key, BoardFixture(self._session, request, self._control)
        return self._fixture[1]

    def upload(self, path: str) -> str:
        """Send a candidate to the board; return its name there.

        Raises
        ------
        DeviceError
            The board's fault, such as a disk that is full.
        """
        assert self._session is not None
        return self._session.upload(path)

    def _check(self, session: Session, machine: str) -> None:
        """Refuse a board of another kind than the run began with."""
        if session.where not in self._known:
            board = describe(session)
            board.check_versions()
            self._known[session.where] = board.machine
        if (found := self._known[session.where]) != machine:
            raise DeviceError(
                f"{session.where} is {found}, and this run began on {machine}",
                "give boards of one kind a key of their own",
            )


def _control(session: Session, request: Mapping[str, Any]) -> Callable[[], float]:
    """Return what times the control kernel there: the least of some calls, seconds."""
    from tvm_mobilenet.bench.peak import CHAINS

    threads, lanes = request["threads"], request["lanes"]
    session.threads(threads)
    kernel = session.kernel(session.upload(os.fspath(request["control"])))
    x = session.tensor(np.full(lanes, 0.999, np.float32))
    y = session.tensor(np.zeros((threads, CHAINS, lanes), np.float32))
    turns = session.turns([[x, y]])

    def run() -> float:
        session.use(kernel, turns)
        return min(session.time_steps(repeats=sampling.CONTROLS, seconds=request["run_limit"]))

    return run
