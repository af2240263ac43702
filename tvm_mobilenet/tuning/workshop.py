"""What builds and measures the tuner's candidates: processes, and a folder for what is built."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tvm_mobilenet.bench.peak import STEPS, operations
from tvm_mobilenet.errors import OutputError, TuningError
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.scratch import scratch
from tvm_mobilenet.target import TargetSpec
from tvm_mobilenet.tuning.boards import Boards, Place, has_many
from tvm_mobilenet.tuning.crew import Crew, LostError
from tvm_mobilenet.tuning.gpu_build import control_operations
from tvm_mobilenet.tuning.report import Board
from tvm_mobilenet.tuning.roster import Roster
from tvm_mobilenet.tuning.task import Settings
from tvm_mobilenet.tuning.trials import Outcome

Job = tuple[Workload, str, float | None]
"""What is measured: of which workload, its file, and seconds of the best known."""

_ROOM = 1 << 24
"""Bytes that building some candidates may take."""


class Workshop:
    """Builds candidates for a target and measures them, here or at a place.

    Parameters
    ----------
    target : TargetSpec
    settings : Settings
    cold_bytes : int
        Weights that pass between two uses of the same.
    place : Place, optional
        Where candidates are measured, if not here.
    tell : callable
        Told, in a sentence, that no board can be used just now.

    Attributes
    ----------
    steps : int
        Multiply-adds of a chain of the control kernel.
    building_s, measuring_s : float
        Time that went into each, seconds.
    """

    def __init__(
        self,
        target: TargetSpec,
        settings: Settings,
        cold_bytes: int,
        place: Place | None,
        tell: Callable[[str], object],
    ) -> None:
        self._target, self._settings, self._cold_bytes = target, settings, cold_bytes
        self._place, self._tell = place, tell
        many = place is not None and has_many(place.address)
        self._roster = Roster(settings.quarantine, many)
        # An emulator takes seconds for what takes a processor milliseconds.
        self.steps = STEPS // 100 if place and place.emulated else STEPS
        self.building_s = self.measuring_s = 0.0
        self._rested = time.monotonic()
        self._open, self._control = False, ""
        # The loader takes a name that it has seen for the library that had it then.
        self._names = itertools.count()

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Have what builds and measures, and a folder for what is built.

        Each process starts when it is first needed. Within another one this does nothing.
        """
        if self._open:
            yield
            return
        program = self._settings.program
        with (
            scratch() as folder,
            Crew(max(os.cpu_count() or 1, 1), program, folder) as self._builders,
            self._runners(folder) as self._runner,
        ):
            self._folder, self._control, self._open = folder, "", True
            try:
                yield
            finally:
                self._open = False

    def _control_kernel(self) -> str:
        """Return the file of the control kernel, built once for each folder."""
        if not self._control:
            path = os.path.join(self._folder, "control.so")
            request = {
                "do": "build_control",
                "path": path,
                "target": self._target.to_dict(),
                "steps": self.steps,
            }
            try:
                self._builders.ask(request, self._settings.build_limit)
            except LostError as lost:
                raise TuningError(
                    f"the control kernel cannot be built: {lost.note}",
                    "check that `tvm-mobilenet compile` works for this target",
                ) from None
            self._control = path
        return self._control

    @property
    def operations(self) -> int:
        """Floating-point operations of the control kernel."""
        if self._target.gpu is not None:
            return control_operations(self._target)
        return operations(self._target.cores, self._target.lanes, self.steps)

    def _runners(self, folder: str) -> Crew | Boards:
        if self._place is None:
            return Crew(1, self._settings.program, folder)
        return Boards(self._place, self._settings, self._roster, folder, self._tell)

    @property
    def boards(self) -> tuple[Board, ...]:
        """Those that were met, where candidates are not measured here."""
        return self._roster.boards()

    def traces(self, request: dict[str, Any]) -> dict[str, Any]:
        """Let MetaSchedule search, as :func:`tvm_mobilenet.tuning.metaschedule.traces`.

        Raises
        ------
        LostError
        """
        return self._builders.ask(request, self._settings.search_limit)

    def build(
        self, batch: Sequence[tuple[Workload, Mapping[str, int | str]]]
    ) -> Iterator[tuple[int, str | tuple[Outcome, str]]]:
        """Build candidates; yield the number of each, and its file or what went wrong."""
        begin = time.monotonic()
        target = self._target.to_dict()
        requests = [
            {
                "do": "build",
                "work": dataclasses.asdict(work),
                "target": target,
                "knobs": dict(knobs),
                "path": os.path.join(self._folder, f"{next(self._names)}.so"),
            }
            for work, knobs in batch
        ]
        for number, answer in self._builders.work(requests, self._settings.build_limit):
            if isinstance(answer, LostError):
                yield number, (answer.outcome, f"while it was built: {answer.note}")
            elif "failed" in answer:
                self._check_room()
                yield number, ("unbuildable", str(answer["failed"]))
            else:
                yield number, str(requests[number]["path"])
        self.building_s += time.monotonic() - begin

    def _check_room(self) -> None:
        """Refuse to blame candidates for a full disk.

        Raises
        ------
        OutputError
        """
        if shutil.disk_usage(self._folder).free < _ROOM:
            raise OutputError(
                f"no candidate can be built: {self._folder!r} has no room",
                "make room, or set TMPDIR to a folder that has some",
            )

    def measure(self, jobs: Sequence[Job]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Measure candidates; yield the number of each, and what became of it.

        Raises
        ------
        DeviceLostError
            No board measures any more.
        """
        limit = self._settings.measure_limit
        requests = [
            self._request(work, do="measure", path=path, best=best) for work, path, best in jobs
        ]
        if isinstance(self._runner, Boards):
            with self._stopwatch():
                for number, answer in self._runner.work(requests, limit):
                    yield number, _plain(answer)
            return
        for number, request in enumerate(requests):
            with self._stopwatch():
                try:
                    found = self._runner.ask(request, limit)
                except LostError as lost:
                    found = _plain(lost)
            yield number, found

    def compare(self, work: Workload, paths: Sequence[str], rounds: int, limit: float) -> Any:
        """Let candidates of a workload run in turns; return their seconds by round.

        Raises
        ------
        LostError, DeviceLostError
        """
        request = self._request(work, do="compare", paths=list(paths), rounds=rounds)
        with self._stopwatch():
            found = self._runner.ask(request, limit)
        if "samples" not in found:  # on a board
            raise LostError(found["outcome"], found["note"])
        return found["samples"]

    @contextmanager
    def _stopwatch(self) -> Iterator[None]:
        """Rest, then count the time; boards rest by themselves."""
        rest = self._rested + self._settings.cool_down - time.monotonic()
        if rest > 0 and self._place is None:
            time.sleep(rest)
        begin = time.monotonic()
        try:
            yield
        finally:
            self._rested = time.monotonic()
            self.measuring_s += self._rested - begin

    def _request(self, work: Workload, **request: Any) -> dict[str, Any]:
        return {
            "work": dataclasses.asdict(work),
            "cold_bytes": self._cold_bytes,
            "control": self._control_kernel(),
            "threads": self._target.cores,
            "lanes": self._target.lanes,
            **({} if self._target.gpu is None else {"target": self._target.to_dict()}),
            **request,
        }


def _plain(answer: dict[str, Any] | LostError) -> dict[str, Any]:
    if isinstance(answer, LostError):
        return {"outcome": answer.outcome, "note": answer.note}
    return answer
