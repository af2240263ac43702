"""What builds the tuner's candidates: worker processes, and a folder for what they build."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tvm_mobilenet.bench.peak import STEPS, operations
from tvm_mobilenet.errors import OutputError, TuningError
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.tuning.gpu_build import control_operations
from tvm_mobilenet.tuning.task import Settings
from tvm_mobilenet.tuning.trials import Outcome
from tvm_mobilenet.tuning.worker_pool import LostError, WorkerPool

_ROOM = 1 << 24
"""Bytes that building some candidates may take."""


class Builder:
    """Builds candidates for a target, and the control kernel that they are timed beside.

    Attributes
    ----------
    operations : int
        Floating-point operations of the control kernel.
    building_s : float
        Time that went into building, seconds.
    """

    def __init__(self, target: TargetSpec, settings: Settings, emulated: bool) -> None:
        self._target, self._settings = target, settings
        # An emulator takes seconds for what takes a processor milliseconds.
        self._steps = STEPS // 100 if emulated else STEPS
        if target.gpu is None:
            self.operations = operations(target.cores, target.lanes, self._steps)
        else:
            self.operations = control_operations(target)
        self.building_s = 0.0
        self._control = ""
        # The loader takes a name that it has seen for the library that had it then.
        self._names = itertools.count()

    @contextmanager
    def open(self, folder: str) -> Iterator[None]:
        """Have what builds; each process starts when it is first needed."""
        self._folder, self._control = folder, ""
        program = self._settings.program
        with WorkerPool(max(os.cpu_count() or 1, 1), program, folder) as self._workers:
            yield

    @property
    def control(self) -> str:
        """The file of the control kernel, built once for each folder."""
        if not self._control:
            path = os.path.join(self._folder, "control.so")
            request = {
                "do": "build_control",
                "path": path,
                "target": self._target.to_dict(),
                "steps": self._steps,
            }
            try:
                self._workers.ask(request, self._settings.build_limit)
            except LostError as lost:
                raise TuningError(
                    f"the control kernel cannot be built: {lost.note}",
                    "check that `tvm-mobilenet compile` works for this target",
                ) from None
            self._control = path
        return self._control

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Let one of TVM's tuners search; see :func:`tvm_mobilenet.tuning.tvm_search.propose`."""
        return self._workers.ask(request, self._settings.search_limit)

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
        for number, answer in self._workers.work(requests, self._settings.build_limit):
            if isinstance(answer, LostError):
                yield number, (answer.outcome, f"while it was built: {answer.note}")
            elif "failed" in answer:
                self._check_room()
                yield number, ("unbuildable", str(answer["failed"]))
            else:
                yield number, str(requests[number]["path"])
        self.building_s += time.monotonic() - begin

    def _check_room(self) -> None:
        """Refuse to blame candidates for a full disk."""
        if shutil.disk_usage(self._folder).free < _ROOM:
            raise OutputError(
                f"no candidate can be built: {self._folder!r} has no room",
                "make room, or set TMPDIR to a folder that has some",
            )
