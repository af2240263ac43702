"""Tuning on devices: boards are killed, stopped, silent; the tracker is; no trial is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faults
import pytest
from parts import device_command, free_port, patience, running, silent_board, wait_for
from tuned import FAULTY, SMALL, TARGET, started, trials_in

from tvm_mobilenet.device import open_device
from tvm_mobilenet.errors import DeviceLostError
from tvm_mobilenet.tuning.space import Space, identity
from tvm_mobilenet.tuning.task import Settings
from tvm_mobilenet.tuning.template import TemplateProposer


@pytest.fixture
def boards() -> Iterator[tuple[str, contextlib.ExitStack, contextlib.ExitStack]]:
    """Address of a tracker with two servers, each ended by closing its stack."""
    with contextlib.ExitStack() as stack:
        tracker = stack.enter_context(running(*device_command("tracker", "--port", free_port())))
        serve = device_command("serve", "--port", 0, "--tracker", tracker.address, "--key", "pi")
        first, second = (stack.enter_context(contextlib.ExitStack()) for _ in range(2))
        first.enter_context(running(*serve))
        second.enter_context(running(*serve))
        address = f"tracker://{tracker.address}/pi"
        wait_for_boards(address, 2)
        yield address, first, second


def wait_for_boards(address: str, count: int) -> None:
    """They register after they listen."""
    with open_device(address) as device:
        assert wait_for(lambda: device.free() == count)


def test_two_boards_one_dies_then_none(
    boards: tuple[str, contextlib.ExitStack, contextlib.ExitStack], tmp_path: Path
) -> None:
    address, first, second = boards
    told: list[Any] = []

    def tell(status: Any) -> None:
        told.append(status)
        if status.fresh == 2:
            second.close()
        if status.fresh == 7:
            first.close()

    settings = Settings(40, open_limit=patience(3.0), board_limit=patience(8.0))
    lost = pytest.raises(DeviceLostError, match=r"no board .* could be used")
    with started(tmp_path, address, settings, tell=tell) as tuner, lost:
        tuner.run()
    assert any("waits for a board" in status.waiting for status in told)
    # What was under way on a board that died is no trial; what was finished is all there.
    trials = trials_in(tmp_path)
    assert 7 <= len(trials) < 40
    assert {trial.outcome for trial in trials} == {"ok"}


def test_a_server_killed_in_a_trial_and_started_again(tmp_path: Path) -> None:
    port = free_port() % 190 + 9010  # TVM takes ports up to 9199
    serve = device_command("serve", "--port", port)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(contextlib.ExitStack())
        address = first.enter_context(running(*serve)).address
        waits: list[str] = []

        def tell(status: Any) -> None:
            if status.fresh == 3 and not status.waiting:
                first.close()
            if status.waiting:
                waits.append(status.waiting)
                if len(waits) == 2:
                    stack.enter_context(running(*serve))

        settings = Settings(8, open_limit=patience(5.0), board_limit=patience(60.0))
        with started(tmp_path, address, settings, tell=tell) as tuner:
            tuner.run()
        assert len(waits) >= 2
    trials = trials_in(tmp_path)
    assert [trial.outcome for trial in trials] == ["ok"] * 8
    assert max(Counter(identity(trial.knobs) for trial in trials).values()) == 1


def test_a_silent_board_is_left_alone(tmp_path: Path) -> None:
    limit = patience(10.0)  # a busy machine's own board must answer meanwhile
    told: list[Any] = []
    with (
        running(*device_command("tracker", "--port", free_port())) as tracker,
        silent_board(tracker.address, "pi") as heard,
        running(*device_command("serve", "--port", 0, "--tracker", tracker.address, "--key", "pi")),
    ):
        address = f"tracker://{tracker.address}/pi"
        wait_for_boards(address, 2)
        settings = Settings(16, open_limit=limit, quarantine=3000.0, board_limit=patience(60.0))
        with started(tmp_path, address, settings, tell=told.append) as tuner:
            tuner.run()
        # Once by whoever asked what the boards are, once by each who measures: never again.
        assert 1 <= sum(map(bool, heard)) <= 3
    assert [trial.outcome for trial in trials_in(tmp_path)] == ["ok"] * 16
    lost = [board for board in told[-1].boards if board.why]
    well = [board for board in told[-1].boards if not board.why]
    assert [board.trials for board in well] == [16]
    (silent,) = lost
    assert f"did not answer in {limit:.0f} s" in silent.why
    assert 2000 < silent.alone_s <= 3000


def test_a_server_that_is_stopped_for_a_while_and_then_for_good(tmp_path: Path) -> None:
    limit = patience(3.0)
    told: list[Any] = []
    with running(*device_command("serve", "--port", 0)) as server:

        def tell(status: Any) -> None:
            told.append(status)
            if status.fresh == 3 and not status.waiting:
                os.killpg(server.group, signal.SIGSTOP)
            if status.waiting and status.trials < 8:
                os.killpg(server.group, signal.SIGCONT)

        settings = Settings(8, measure_limit=limit, open_limit=limit, board_limit=patience(60.0))
        with started(tmp_path, server.address, settings, tell=tell) as tuner:
            tuner.run()
        waits = [status for status in told if status.waiting]
        assert waits
        assert f"did not answer in {limit:.0f} s" in waits[0].waiting
        assert [trial.outcome for trial in trials_in(tmp_path)] == ["ok"] * 8
        settings = Settings(20, measure_limit=limit, open_limit=limit, board_limit=4.0)
        begin = time.monotonic()
        with started(tmp_path, server.address, settings) as tuner:
            os.killpg(server.group, signal.SIGSTOP)
            with pytest.raises(DeviceLostError, match=r"no board .* could be used for"):
                tuner.run()
        # Its limits, and what it takes to build.
        assert time.monotonic() - begin < patience(60.0)
        assert len(trials_in(tmp_path)) == 8


def test_the_tracker_is_killed_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just when a candidate has cost its session, so that another is needed."""
    faults.install(monkeypatch.setattr)
    rule = Space(SMALL, TARGET).rule
    batch = [rule, {**rule, "fault": "abort"}, {**rule, "threads": "all"}]
    propose: Any = lambda *_: batch  # noqa: E731
    monkeypatch.setattr(TemplateProposer, "propose", propose)
    tracker = device_command("tracker", "--port", free_port())
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(contextlib.ExitStack())
        at = first.enter_context(running(*tracker)).address
        stack.enter_context(
            running(*device_command("serve", "--port", 0, "--tracker", at, "--key", "pi"))
        )
        address = f"tracker://{at}/pi"
        wait_for_boards(address, 1)
        waits: list[str] = []

        def tell(status: Any) -> None:
            if status.fresh == 1 and not waits:
                first.close()
            if status.waiting:
                waits.append(status.waiting)
                if len(waits) == 2:
                    stack.enter_context(running(*tracker))

        settings = Settings(
            3, open_limit=patience(20.0), board_limit=patience(90.0), program=FAULTY
        )
        with started(tmp_path, address, settings, tell=tell) as tuner:
            tuner.run()
    assert "nothing listens" in waits[0]
    found = [(trial.knobs["fault"], trial.outcome) for trial in trials_in(tmp_path)]
    assert sorted(found) == [("abort", "crashed"), ("none", "ok"), ("none", "ok")]
