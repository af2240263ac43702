"""The lines that a run writes beside the history: what it tunes, and where its time goes."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tvm_mobilenet.bench.machine import measure_machine
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.tuning.log import append
from tvm_mobilenet.tuning.records import target_key, threads_of
from tvm_mobilenet.tuning.runs import Network, Part, Roofs, Spent, read_runs
from tvm_mobilenet.tuning.status import Status
from tvm_mobilenet.tuning.tuner import Tuner

_ROOFS_FROM = 100
"""Trials in a folder that make five seconds for its machine's bandwidth worth while."""

_EVERY_S = 5.0
"""Between two lines about the time that was spent."""


class RunBook:
    """Writes beside the history what a run's trials are for, and what they cost."""

    def __init__(self, path: Path, title: str, target: TargetSpec) -> None:
        self._path, self._target = path, target
        self.runs = read_runs(path)
        self._facts: dict[str, Any] = {"target": target_key(target), "threads": threads_of(target)}
        self._title = title
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._run = f"{now} process {os.getpid()}"
        self._last = time.monotonic()

    def telling(self, tell: Callable[[Status], object]) -> Callable[[Status], None]:
        """Pass every Status on, and write now and then where the time went."""

        def told(status: Status) -> None:
            tell(status)
            if time.monotonic() - self._last >= _EVERY_S:
                self._spent(status)

        return told

    def open(self, tuner: Tuner, parts: Mapping[str, Part]) -> Network:
        """Write what is tuned, unless that is known."""
        ruled = {
            key: dataclasses.replace(part, rule=tuner.tasks[key].proposer.space.rule)
            for key, part in parts.items()
        }
        count = tuner.builder.operations
        network = Network(model=self._title, operations=count, parts=ruled, **self._facts)
        if self.runs.networks.get((network.group, network.model)) != network:
            append(self._path, network)
        return network

    def close(self, tuner: Tuner) -> None:
        """Write the end of a run, and once how fast this machine reads, if it measured."""
        status = tuner.status()
        if status.building_s or status.measuring_s:
            self._spent(status)
        group = (self._facts["target"], self._facts["threads"])
        if (
            tuner.measurer.local
            and self._target.gpu is None
            and tuner.done >= _ROOFS_FROM
            and group not in self.runs.roofs
        ):
            bandwidth = measure_machine(self._target, self._target.cores).bandwidth
            append(self._path, Roofs(bandwidth=bandwidth, **self._facts))

    def _spent(self, status: Status) -> None:
        self._last = time.monotonic()
        line = Spent(
            run=self._run,
            model=self._title,
            trials=status.fresh,
            seconds=round(status.seconds, 2),
            building_s=round(status.building_s, 2),
            measuring_s=round(status.measuring_s, 2),
            **self._facts,
        )
        append(self._path, line)
