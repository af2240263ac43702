"""The processor or the GPU of this machine measures, one candidate at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.tuning.gpu_fixture import machine_of
from tvm_mobilenet.tuning.measurer import Request
from tvm_mobilenet.tuning.status import Board
from tvm_mobilenet.tuning.task import Settings
from tvm_mobilenet.tuning.worker_pool import LostError, WorkerPool


class LocalMeasurer:
    """See :class:`~tvm_mobilenet.tuning.measurer.Measurer`."""

    emulated = False
    local = True
    boards: tuple[Board, ...] = ()

    def __init__(self, target: TargetSpec, settings: Settings) -> None:
        self.machine = machine_of(target)
        self.measuring_s = 0.0
        self._settings = settings
        self._rested = time.monotonic()

    @contextmanager
    def open(self, folder: str, waits: Callable[[str], object]) -> Iterator[None]:
        """Have a worker that measures; it starts when it is first needed."""
        with WorkerPool(1, self._settings.program, folder) as self._workers:
            yield

    def measure(self, requests: Sequence[Request]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Measure candidates one after the other."""
        for number, request in enumerate(requests):
            try:
                found = self._timed(request, self._settings.measure_limit)
            except LostError as lost:
                found = lost.answer
            yield number, found

    def compare(self, request: Request, limit_s: float) -> list[list[float]]:
        """Let candidates run in turns."""
        samples: list[list[float]] = self._timed(request, limit_s)["samples"]
        return samples

    def _timed(self, request: Request, limit_s: float) -> dict[str, Any]:
        """Rest, then let the worker answer and count the time."""
        time.sleep(max(self._rested + self._settings.cool_down - time.monotonic(), 0.0))
        begin = time.monotonic()
        try:
            return self._workers.ask(request, limit_s)
        finally:
            self._rested = time.monotonic()
            self.measuring_s += self._rested - begin
