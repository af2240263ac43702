"""Boards measure: as many workers as there are boards, and what happens when one is lost.

A lost board is not the candidate's fault: what it had is measured elsewhere, or when it is
back. One that fails again and again is left alone for a while
(:mod:`~tvm_mobilenet.tuning.board_health`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tvm_mobilenet.device import open_device
from tvm_mobilenet.errors import DeviceError, DeviceLostError
from tvm_mobilenet.tuning.board_health import BoardHealth
from tvm_mobilenet.tuning.board_pool import MOST_BOARDS, BoardPool
from tvm_mobilenet.tuning.measurer import Request
from tvm_mobilenet.tuning.status import Board
from tvm_mobilenet.tuning.task import Settings
from tvm_mobilenet.tuning.worker_pool import LostError, WorkerPool

_STRIKES = 3
_LOOK_S, _LOOK_LIMIT_S = 10.0, 2.0
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)


class BoardMeasurer:
    """See :class:`~tvm_mobilenet.tuning.measurer.Measurer`."""

    local = False

    def __init__(self, pool: BoardPool, settings: Settings) -> None:
        self.machine, self.emulated = pool.machine, pool.emulated
        self.measuring_s = 0.0
        self._pool, self._settings = pool, settings
        self._health = BoardHealth(settings.quarantine, pool.has_many)

    @property
    def boards(self) -> tuple[Board, ...]:
        """Those that were met."""
        return self._health.boards()

    @contextmanager
    def open(self, folder: str, waits: Callable[[str], object]) -> Iterator[None]:
        """Have a worker for each board; they start when they are first needed."""
        self._waits = waits
        self._wanted, self._looked = self._pool.count, time.monotonic()
        with WorkerPool(self._wanted, self._settings.program, folder) as self._workers:
            yield

    def measure(self, requests: Sequence[Request]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Measure candidates side by side."""
        return self._work(requests, self._settings.measure_limit)

    def compare(self, request: Request, limit_s: float) -> list[list[float]]:
        """Let candidates run in turns, on one board."""
        ((_, found),) = self._work([request], limit_s)
        if "samples" not in found:
            raise LostError(found["outcome"], found["note"])
        samples: list[list[float]] = found["samples"]
        return samples

    def _work(
        self, requests: Sequence[Request], limit_s: float
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Hand out requests until each is answered; yield which, and its answer, as they come.

        A candidate may take `limit_s` for what it does there; the board itself gets more.

        Raises
        ------
        DeviceLostError
            No board could be used for as long as the settings allow.
        """
        begin = idle_since = time.monotonic()
        strikes = dict.fromkeys(range(len(requests)), 0)  # of those that wait
        pauses, rounds, note = iter(_PAUSES_S), 2, ""
        # Twice the candidate, and a session before, between and after.
        most = 4 * (limit_s + self._settings.open_limit) + self._settings.cool_down
        while strikes:
            self._look()
            self._workers.resize(self._wanted)
            # A few at a time: each of them finds out by itself that no board answers.
            now = sorted(strikes)[: rounds * self._wanted]
            batch = [self._addressed(requests[n], strikes[n], limit_s) for n in now]
            for at, answer in self._workers.work(batch, most):
                number = now[at]
                found = self._found(answer, batch[at])
                if "outcome" in found:
                    del strikes[number]
                    if not isinstance(answer, LostError):
                        idle_since, pauses, rounds = time.monotonic(), iter(_PAUSES_S), 2
                    yield number, found
                else:
                    strikes[number], note = found["strikes"], found["note"]
            if all(number in strikes for number in now):
                rounds = 1
                self._wait(time.monotonic() - idle_since, next(pauses, _PAUSES_S[-1]), note)
        self.measuring_s += time.monotonic() - begin

    def _found(self, answer: dict[str, Any] | LostError, request: Request) -> dict[str, Any]:
        """Note what became of the boards; return the outcome, or strikes of what is tried again."""
        if isinstance(answer, LostError):  # of the worker itself
            if request["strikes"] + 1 >= _STRIKES:
                return answer.answer
            return {"strikes": request["strikes"] + 1, "note": answer.note}
        for where, why, grave in answer.pop("failed", ()):
            if where == self._pool.address and self._pool.has_many:
                self._wanted = max(self._wanted - 1, 1)  # there was none to be had
            else:
                self._health.failed(where, why, grave)
        if "outcome" in answer:
            self._health.answered(answer.pop("where"), request["do"] == "measure")
        return answer

    def _look(self) -> None:
        """Ask now and then whether boards have come, or come back, that nobody uses."""
        if time.monotonic() - self._looked < _LOOK_S or not self._pool.has_many:
            return
        self._looked = time.monotonic()
        # Whoever measures finds out too when the tracker is gone.
        with (
            contextlib.suppress(DeviceError),
            open_device(self._pool.address, _LOOK_LIMIT_S) as device,
        ):
            found = self._health.serving() + device.free()
            self._wanted = min(max(self._wanted, found), MOST_BOARDS)

    def _wait(self, idle_s: float, pause: float, note: str) -> None:
        """Wait for a board a little, or give up."""
        left = self._settings.board_limit - idle_s
        names = ", ".join(self._health.alone())
        alone = f"; left alone: {names}" if names else ""
        if left <= 0:
            raise DeviceLostError(
                f"no board of {self._pool.address} could be used for {idle_s:.0f} s: {note}{alone}",
                "nothing that was measured is lost: start the boards and give the same command",
            )
        self._waits(f"waits for a board, {left:.0f} s more: {note}{alone}")
        time.sleep(min(pause, left))

    def _addressed(self, request: Request, strikes: int, limit_s: float) -> dict[str, Any]:
        return {
            **request,
            "device": self._pool.address,
            "machine": self._pool.machine,
            "avoid": self._health.alone(),
            "open_limit": self._settings.open_limit,
            "run_limit": limit_s,
            "rest": self._settings.cool_down,
            "strikes": strikes,
        }
