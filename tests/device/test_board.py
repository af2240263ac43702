"""An aarch64 board that QEMU plays: cross-compiled artifacts are checked there, kernel by kernel.

Its times say nothing and are not looked at.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from parts import device_command, free_port, running

import tvm_mobilenet as tm
from tvm_mobilenet import reference
from tvm_mobilenet.device import open_device, serve
from tvm_mobilenet.errors import ArchitectureError, DeviceLostError
from tvm_mobilenet.models import weights
from tvm_mobilenet.target import host_machine
from tvm_mobilenet.verify import sample_input

START_S = 120


@contextlib.contextmanager
def served(board: Path, tracker: str = "", key: str = "") -> Iterator[str]:
    """Run our server in the board; yields its address."""
    place = tuple(tracker.split(":")) if tracker else None
    where = (place[0], int(place[1])) if place else None
    program = Path(serve.__file__).read_text()
    program += f"\nserve('127.0.0.1', 0, {key!r}, {where!r})\n"
    with running(board, "-c", program, until='"port"', seconds=START_S) as line:
        yield f"127.0.0.1:{json.loads(line)['port']}"


@pytest.fixture(scope="module")
def address(board: Path) -> Iterator[str]:
    with served(board) as found:
        yield found


def test_describes_the_board(address: str) -> None:
    with open_device(address, START_S) as device:
        found = device.describe()
    assert found.target.triple == "aarch64-linux-gnu"
    assert found.target.isa == "neon"
    assert {"fp", "asimd"} <= set(found.features)
    assert found.tvm == "0.27.0.post1"
    found.check_versions()


def test_right_numbers_on_the_board(address: str, foreign: Path) -> None:
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=7)
    arrays = weights.from_source("seed:3", model)
    x = sample_input(model.input_shape)
    with open_device(address, START_S) as device, device.session() as session:
        module = session.artifact(foreign)
        report = tm.verify(module)
        report.check()
        assert len(report.rows) == len(module.manifest["calls"])
        error = reference.relative_error(module(x), reference.run(model, arrays, x))
        assert error < 1e-5
        assert len(module.profile(x, repeats=1).calls) == len(module.manifest["calls"])


def test_this_machines_code_is_refused(address: str, artifact: Path) -> None:
    if host_machine() == "aarch64":
        pytest.skip("aarch64 is no cross target here")
    refused = pytest.raises(ArchitectureError, match="x86_64")
    with open_device(address, START_S) as device, device.session() as session, refused:
        session.artifact(artifact)


def test_a_crash_on_the_board(address: str, mischief: Callable[[str], Path]) -> None:
    with open_device(address, START_S) as device:
        with device.session() as session:
            library = session.load(mischief("aarch64"))
            assert session.call(library, "add", 1, 2) == 5
            with pytest.raises(DeviceLostError):
                session.call(library, "crash")
        with device.session() as session:
            session.ping()


def test_through_the_tracker(board: Path, foreign: Path) -> None:
    with running(*device_command("tracker", "--port", free_port())) as line:
        tracker = line.removeprefix("listening on ").split(";")[0]
        with served(board, tracker, "arm"):
            tm.verify(foreign, device=f"tracker://{tracker}/arm").check()


def test_through_ssh(board: Path, foreign: Path, sshd: tuple[int, Path]) -> None:
    where = f"ssh://127.0.0.1:{sshd[0]}?python={board}"
    with open_device(where, START_S) as device, device.session() as session:
        module = session.artifact(foreign)
        tm.verify(module).check()
        x = np.zeros(module.inputs[0]["shape"], np.float32)
        assert np.isfinite(module(x)).all()
