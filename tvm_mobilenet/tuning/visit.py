"""What stays on a board from trial to trial: the session, the control kernel, the buffers."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tvm_mobilenet.device import Device, Session, open_device
from tvm_mobilenet.device.description import describe
from tvm_mobilenet.errors import DeviceError, TvmMobilenetError, VerificationError
from tvm_mobilenet.kernel_case import KernelCase, kernel_case
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.tuning import sampling

_AGE_S = 1200.0
"""After which a session is replaced: servers end theirs after an hour, and what was
uploaded goes with the session only."""

_USES = 500
"""After which it is, too: what was uploaded fills disk and memory."""

_MOST_BYTES = 1 << 26
"""Of weights on a board, all copies together: some have little memory."""


class Stand:
    """The buffers on a board that the candidates of one workload are run on.

    Parameters
    ----------
    session : Session
    fields : mapping
        Of the workload.
    cold_bytes : int
        Weights that pass between two uses of the same.
    limit : float
        Seconds for what a candidate does.
    """

    def __init__(
        self, session: Session, fields: Mapping[str, Any], cold_bytes: int, limit: float
    ) -> None:
        self.work = Workload.from_dict(fields)
        self._session, self._limit = session, limit
        self._name = ""
        self._libraries: list[Any] = []  # TVM 0.19 unloads those that nobody holds
        self._case: KernelCase = kernel_case(self.work)
        data, *weights = self._case.inputs
        size = sum(array.nbytes for array in weights)
        wanted = min(cold_bytes, _MOST_BYTES)
        copies = min(max(math.ceil(wanted / size), 1), sampling.MOST_COPIES) if size else 1
        self._blank = sampling.blank(self._case)
        self._space = session.tensor(self._blank)
        with session.answering("making a view"):
            out = self._space._create_view(
                self._case.want.shape, "float32", sampling.GUARD * self._blank.itemsize
            )
        first = session.tensor(data)
        self._own = [session.tensor(array) for array in weights]
        self._tensors = [first, out, *self._own]
        session.agent("turns")
        session.agent("turn", first, *self._own, out)
        for _ in range(copies - 1):
            with session.answering("copying weights"):
                more = [session.empty(w.shape).copyfrom(w) for w in self._own]
            self._tensors += more
            session.agent("turn", first, *more, out)

    def upload(self, path: str) -> str:
        """Send a candidate to the board; return its name there.

        Raises
        ------
        DeviceError
            The board's fault, such as a disk that is full.
        """
        return self._session.upload(path)

    def use(self, name: str) -> None:
        """Load a candidate and make it what is checked and timed from now on."""
        with self._session.answering(f"loading {name}"):
            self._libraries.append(self._session.rpc.load_module(name))
        self.again(name)

    def again(self, name: str = "") -> None:
        """Go back to a candidate that was in use."""
        self._name = name or self._name
        self._session.agent("kernel", self._name, self.work.key)

    def check(self) -> float:
        """Run the candidate once; return its largest relative error.

        Raises
        ------
        VerificationError
            It is wrong.
        DeviceError
        """
        session = self._session
        with session.answering("sending an array"):
            self._space.copyfrom(self._blank)
        before = session.agent("rewind")
        session.call(session.agent_module, "step", seconds=self._limit)
        if session.agent("rewind") != before:
            raise VerificationError("it wrote into its inputs")
        return sampling.judge(self._case, session.array(self._space))

    def samples(self, count: int, number: int) -> list[float]:
        """Return seconds a call, `number` times, each of `count` calls."""
        session = self._session
        return session.time(
            session.agent_module, "step", number=count, repeats=number, seconds=self._limit
        )

    def warm(self) -> tuple[float, int]:
        """Call until it is warm; return seconds of a call, and how many make a sample."""
        once = self.samples(1, 3)[-1]
        once = self.samples(max(math.ceil(sampling.WARM_UP_S / 2 / max(once, 1e-7)), 1), 1)[0]
        return once, max(math.ceil(sampling.SAMPLE_S / max(once, 1e-7)), 1)


class Visit:
    """A session that is kept from request to request, and what is set up in it."""

    def __init__(self, address: str, limit: float) -> None:
        self._address, self._limit = address, limit
        self._device: Device | None = None
        self._session: Session | None = None
        self._opened, self._uses = 0.0, 0
        self._known: dict[str, str] = {}
        self._stand: tuple[Any, Stand] | None = None
        self.where = address
        self.control: Callable[[], float] = lambda: 0.0

    def open(self, request: Mapping[str, Any]) -> Session:
        """Return the session; a new one if there is none or it is old.

        Raises
        ------
        DeviceError, TvmMobilenetError
        """
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
            return self._session
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
            self.control = _control(self._session, request)
            self.control()
        except TvmMobilenetError:
            self.drop()
            if self._device is not None:  # behind ssh, the server itself may be gone
                self._device.close()
                self._device = None
            raise
        return self._session

    def drop(self) -> None:
        """Close the session."""
        self._stand = None
        if self._session is not None:
            self._session.close()
            self._session = None

    def stand(self, request: Mapping[str, Any]) -> Stand:
        """Return the buffers of a request's workload."""
        assert self._session is not None
        key = repr((request["work"], request["cold_bytes"]))
        if self._stand is None or self._stand[0] != key:
            self._stand = None
            fields, cold = request["work"], request["cold_bytes"]
            self._stand = key, Stand(self._session, fields, cold, request["run_limit"])
        return self._stand[1]

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
    library = session.load(os.fspath(request["control"]))
    x = session.tensor(np.full(lanes, 0.999, np.float32))
    y = session.tensor(np.zeros((threads, CHAINS, lanes), np.float32))

    def run() -> float:
        limit = request["run_limit"]
        return min(session.time(library, "main", x, y, repeats=sampling.CONTROLS, seconds=limit))

    return run
