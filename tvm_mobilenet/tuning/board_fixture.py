"""Candidates on a board, through a session there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tvm_mobilenet.device import Session
from tvm_mobilenet.errors import DeviceCallError, VerificationError
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.tuning import sampling
from tvm_mobilenet.verify.cases import case_of
from tvm_mobilenet.verify.kernel_case import KernelCase

_MOST_BYTES = 1 << 26
"""Most bytes of weights on a board, all copies together: some have little memory."""


class BoardFixture:
    """See :class:`~tvm_mobilenet.tuning.fixture.Fixture`; the buffers go with the session."""

    at_a_time = 5
    """A round trip costs more than the samples do."""

    def __init__(
        self, session: Session, request: Mapping[str, Any], control: Callable[[], float]
    ) -> None:
        self._session, self._limit, self._time_control = session, request["run_limit"], control
        work = Workload.from_dict(request["work"])
        self._name, self._in_use = work.key, 0
        self._case: KernelCase = case_of(work)
        data, *weights = self._case.inputs
        copies = sampling.copies_of(weights, min(request["cold_bytes"], _MOST_BYTES))
        self._blank = sampling.blank(self._case)
        self._space = session.tensor(self._blank)
        with session.answering("making a view"):
            out = self._space._create_view(
                self._case.want.shape, self._case.dtype, sampling.GUARD * self._blank.itemsize
            )
        first, own = session.tensor(data), [session.tensor(array) for array in weights]
        sets = [[first, *own, out]]
        for _ in range(copies - 1):
            with session.answering("copying weights"):
                copied = (
                    session.empty(array.shape, array.dtype).copyfrom(there)
                    for array, there in zip(weights, own, strict=True)
                )
                sets.append([first, *copied, out])
        self._turns = session.turns(sets)

    def control(self) -> float:
        """Return seconds of the control kernel."""
        self._in_use = 0
        return self._time_control()

    def load(self, path: str) -> _Candidate:
        """Load a candidate that was uploaded as `path`."""
        kernel = self._session.kernel(path, self._name)
        if not kernel:
            raise DeviceCallError(
                f"the processor of {self._session.where} lacks instructions that it uses",
                "name the board's own processor as the target",
            )
        return _Candidate(self, kernel)

    def check(self, kernel: int) -> float:
        """Run a candidate once; return its largest relative error."""
        session = self._session
        self._use(kernel)
        with session.answering("sending an array"):
            self._space.copyfrom(self._blank)
        before = session.agent("rewind")
        session.step("a candidate", self._limit)
        if session.agent("rewind") != before:
            raise VerificationError("it wrote into its inputs")
        return sampling.judge(self._case, session.array(self._space))

    def samples(self, kernel: int, count: int, number: int) -> list[float]:
        """Return seconds a call, `number` times, each of `count` calls."""
        self._use(kernel)
        return self._session.time_steps(number=count, repeats=number, seconds=self._limit)

    def _use(self, kernel: int) -> None:
        """Make a candidate what the agent calls from now on."""
        if kernel != self._in_use:
            self._session.use(kernel, self._turns)
            self._in_use = kernel


class _Candidate:
    """See :class:`~tvm_mobilenet.tuning.fixture.Candidate`."""

    def __init__(self, fixture: BoardFixture, kernel: int) -> None:
        self._fixture, self._kernel = fixture, kernel

    def check(self) -> float:
        return self._fixture.check(self._kernel)

    def warm(self) -> tuple[float, int]:
        once = self.samples(1, 3)[-1]
        once = self.samples(max(math.ceil(sampling.WARM_UP_S / 2 / max(once, 1e-7)), 1), 1)[0]
        return once, sampling.calls_of_a_sample(once)

    def samples(self, count: int, number: int) -> list[float]:
        return self._fixture.samples(self._kernel, count, number)
