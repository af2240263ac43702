"""An aarch64 board that QEMU plays: cross-compiled artifacts are checked there, kernel by kernel.

Its times say nothing and are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from parts import START_S

import tvm_mobilenet as tm
from tvm_mobilenet.device import open_device
from tvm_mobilenet.errors import ArchitectureError, DeviceLostError
from tvm_mobilenet.machine import host_machine
from tvm_mobilenet.models import reference, weights
from tvm_mobilenet.verify.artifact import sample_input


def test_describes_the_board(emulated: str) -> None:
    with open_device(emulated, START_S) as device:
        found = device.describe()
    assert found.target.triple == "aarch64-linux-gnu"
    assert found.target.isa == "neon"
    assert {"fp", "asimd"} <= set(found.features)
    assert found.tvm == "0.27.0.post1"
    found.check_versions()


def test_right_numbers_on_the_board(emulated: str, foreign: Path) -> None:
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=7)
    arrays = weights.from_source("seed:3", model)
    x = sample_input(model.input_shape)
    with open_device(emulated, START_S) as device, device.session() as session:
        module = session.artifact(foreign)
        report = tm.verify(module)
        report.check()
        assert len(report.rows) == len(module.manifest["calls"])
        error = reference.relative_error(module(x), reference.run(model, arrays, x))
        assert error < 1e-5
        x[0, 1, 20, 11] = np.nan
        assert np.isnan(module(x)).all()
        assert len(module.profile(x, repeats=1).calls) == len(module.manifest["calls"])


def test_float16_on_the_board(emulated: str, tmp_path: Path) -> None:
    """Each kernel is within the bound of sums of float16, which its record says."""
    model = tm.mobilenet_v1(alpha=0.125, resolution=32, classes=7)
    tm.compile(model, target="rpi5", dtype="float16").export(tmp_path / "half.so")
    with open_device(emulated, START_S) as device, device.session() as session:
        module = session.artifact(tmp_path / "half.so")
        tm.verify(module).check()
        calls = [call for call in module.manifest["calls"] if call["operator"] != "softmax"]
        assert {(call["stored"], call["half_products"]) for call in calls} == {("float16", 32)}


def test_this_machines_code_is_refused(emulated: str, artifact: Path) -> None:
    if host_machine() == "aarch64":
        pytest.skip("aarch64 is no cross target here")
    refused = pytest.raises(ArchitectureError, match="x86_64")
    with open_device(emulated, START_S) as device, device.session() as session, refused:
        session.artifact(artifact)


def test_a_crash_on_the_board(emulated: str, mischief: Callable[[str], Path]) -> None:
    with open_device(emulated, START_S) as device:
        with device.session() as session:
            library = session.load(mischief("aarch64"))
            assert session.call(library, "add", 1, 2) == 5
            with pytest.raises(DeviceLostError):
                session.call(library, "crash")
        with device.session() as session:
            session.ping()
