"""Tuning on a file system that is full: named, nothing lost, and it goes on with more room."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kernels import workload

from tvm_mobilenet.errors import OutputError
from tvm_mobilenet.machine import host
from tvm_mobilenet.tuning.builder import Builder
from tvm_mobilenet.tuning.finals import settle
from tvm_mobilenet.tuning.measurers import find_measurer
from tvm_mobilenet.tuning.records import Record, target_key
from tvm_mobilenet.tuning.store import HISTORY, Store
from tvm_mobilenet.tuning.task import Settings
from tvm_mobilenet.tuning.trials import History, read_history
from tvm_mobilenet.tuning.tuner import Tuner

TARGET = dataclasses.replace(host(), cores=1)
SMALL = workload("pointwise", (32, 32), (7, 7), TARGET.lanes)
RECORD = Record(
    kind="kernel", operator="pointwise", workload="pointwise_a", target=target_key(TARGET),
    threads=1, knobs={"pixels": 7}, seconds=1e-4, repeats=9, spread=0.0, machine="a desk",
    date="2026-01-01", verified=True, error=0.0, tvm="0.27",
)  # fmt: skip
_SIZE = 64 << 10
_COMMAND = (
    *(sys.executable, "-m", "tvm_mobilenet", "tune", "v1", "--alpha", "0.25"),
    *("--resolution", "32", "--classes", "10", "--cores", "1", "--trials", "1"),
)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", os.fspath(place)]
    made = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip("this machine lets only root mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", os.fspath(place)], check=True)


def fill(place: Path) -> None:
    """Leave no room, not even in the last block of a file."""
    with (place / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


def tuned(folder: Path, trials: int, tell: Any = lambda _: None) -> History:
    with Store(folder).writing() as writer:
        history = read_history(folder / HISTORY, target_key(TARGET), 1)
        settings = Settings(trials)
        measurer = find_measurer(TARGET, settings, None)
        tuner = Tuner({SMALL.key: (SMALL, 1)}, TARGET, history, writer, settings, measurer, tell)
        tuner.run()
        settle(tuner, history.finals)
    return read_history(folder / HISTORY, target_key(TARGET), 1)


def test_the_history_loses_nothing_and_goes_on_where_it_was(small: Path) -> None:
    first = tuned(small, 2).trials
    with pytest.raises(OutputError, match=r"(?s)history.jsonl.*No space left on device.*make room"):
        # The last block of the file has room for a few lines.
        tuned(small, 40, lambda status: fill(small))
    known = read_history(small / HISTORY, target_key(TARGET), 1)
    assert known.damaged == ()
    assert known.trials[:2] == first
    assert 2 <= len(known.trials) < 40
    assert (small / HISTORY).read_bytes().endswith(b"\n")
    (small / "filler").unlink()
    after = tuned(small, len(known.trials) + 2)
    assert after.damaged == ()
    assert after.trials[: len(known.trials)] == known.trials
    assert len(after.trials) == len(known.trials) + 2


def test_records_stay_as_they_were(small: Path) -> None:
    with Store(small).writing() as writer:
        assert writer.keep(RECORD)
        path = small / RECORD.target / "pointwise.jsonl"
        before = path.read_bytes()
        fill(small)
        longer = dataclasses.replace(RECORD, workload="pointwise_b", machine="m" * 5000)
        with pytest.raises(OutputError, match=r"pointwise.jsonl.*No space left on device"):
            writer.keep(longer)
        assert path.read_bytes() == before
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]
        (small / "filler").unlink()
        assert writer.keep(longer)
    assert set(Store(small).find(TARGET).kernels) == {RECORD.workload, "pointwise_b"}


def test_the_command_says_it_in_a_line_and_ends_with_status_two(small: Path) -> None:
    fill(small)
    command = [*_COMMAND, "--log-dir", os.fspath(small / "logs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 2
    said = f"error: cannot write to '{small}/logs': No space left on device"
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (small / "logs" / HISTORY).exists()


def test_no_candidate_is_blamed_where_nothing_can_be_built(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fills up while the first candidates are built."""
    real = Builder.build

    def build(self: Builder, batch: Any) -> Any:
        monkeypatch.setattr(self, "_folder", os.fspath(small))
        return real(self, batch)

    monkeypatch.setattr(Builder, "build", build)
    fill(small)
    with pytest.raises(OutputError, match=r"no candidate can be built.*has no room"):
        tuned(tmp_path, 2)
    assert not (tmp_path / HISTORY).exists()
