"""TVM's tracker, with two servers under one key."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from parts import device_command, free_port, running, wait_for

from tvm_mobilenet.device import Device, Session, open_device
from tvm_mobilenet.errors import DeviceError, DeviceLostError, DeviceTimeoutError
from tvm_mobilenet.machine import host


class Boards(NamedTuple):
    address: str
    second: contextlib.ExitStack
    """Closing it kills the second server."""


@pytest.fixture
def boards() -> Iterator[Boards]:
    with contextlib.ExitStack() as stack:
        tracker = stack.enter_context(running(*device_command("tracker", "--port", free_port())))
        address = tracker.removeprefix("listening on ").split(";")[0]
        serve = device_command("serve", "--port", 0, "--tracker", address, "--key", "pi")
        second = stack.enter_context(contextlib.ExitStack())
        stack.enter_context(running(*serve))
        second.enter_context(running(*serve))
        yield Boards(f"tracker://{address}", second)


def test_two_boards_at_once_then_one(boards: Boards) -> None:
    with open_device(f"{boards.address}/pi", 30) as device:
        with device.session() as one, device.session() as other:
            assert one.where != other.where
            one.ping()
            other.ping()
            with pytest.raises(DeviceTimeoutError, match="none of the 2 boards"):
                device.session(timeout=2)
            assert device.address.key == "pi"
        boards.second.close()
        # The board that is left serves again as soon as its session has ended.
        seen = {where_of(device) for _ in range(3)}
        assert len(seen) == 1
        assert device.describe().target == host()


def where_of(device: Device) -> str:
    with device.session() as session:
        session.ping()
        return session.where


def test_a_board_that_dies_in_a_session(boards: Boards) -> None:
    with open_device(f"{boards.address}/pi", 30) as device, contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(device.session()) for _ in range(2)]
        boards.second.close()
        assert wait_for(lambda: sum(map(works, sessions)) == 1)


def works(session: Session) -> bool:
    try:
        session.ping()
    except DeviceLostError:
        return False
    return True


def test_a_key_that_nobody_has(boards: Boards) -> None:
    refused = pytest.raises(DeviceTimeoutError, match=r"no board is registered under 'rpi9'.*pi")
    with open_device(f"{boards.address}/rpi9", 2) as device, refused:
        device.session()


def test_a_server_is_no_tracker(server: str) -> None:
    with open_device(f"tracker://{server}/pi", 2) as device, pytest.raises(DeviceError):
        device.session()
