"""A tuner of one small kernel on devices, and what it wrote."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faults
from kernels import workload

from tvm_mobilenet.machine import host
from tvm_mobilenet.tuning.board_pool import find_pool
from tvm_mobilenet.tuning.measurers import find_measurer
from tvm_mobilenet.tuning.records import target_key
from tvm_mobilenet.tuning.store import HISTORY, Store
from tvm_mobilenet.tuning.task import Settings
from tvm_mobilenet.tuning.trials import Trial, read_history
from tvm_mobilenet.tuning.tuner import Tuner

TARGET = dataclasses.replace(host(), cores=1)
SMALL = workload("pointwise", (32, 32), (7, 7), TARGET.lanes)
FAULTY = (sys.executable, str(Path(faults.__file__)))


@contextlib.contextmanager
def started(folder: Path, address: str, settings: Settings, **options: Any) -> Iterator[Tuner]:
    """A tuner of one small kernel on a device."""
    pool, _ = find_pool(address, settings.open_limit)
    measurer = find_measurer(TARGET, settings, pool)
    with Store(folder).writing() as writer:
        history = read_history(folder / HISTORY, target_key(TARGET), 1)
        works = {SMALL.key: (SMALL, 1)}
        yield Tuner(works, TARGET, history, writer, settings, measurer, **options)


def trials_in(folder: Path) -> tuple[Trial, ...]:
    history = read_history(folder / HISTORY, target_key(TARGET), 1)
    assert history.damaged == ()
    return history.trials


if __name__ == "__main__":
    with started(Path(sys.argv[1]), sys.argv[2], Settings(int(sys.argv[3]))) as of_this_process:
        of_this_process.run()
