"""What the tests of devices may ask for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from parts import BOARD, MISCHIEF, NO_BOARD, compiled, device_command, running, served, ssh_server


@pytest.fixture(scope="session", autouse=True)
def _keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Servers leave their keys here, not in the home of whoever tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def mischief(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make the library of `MISCHIEF` for a machine."""
    from tvm_ffi import libinfo

    from tvm_mobilenet.artifact.toolchain import find_linker
    from tvm_mobilenet.machine import PRESETS

    folder = tmp_path_factory.mktemp("mischief")
    source = folder / "mischief.c"
    source.write_text(MISCHIEF)

    def make(machine: str) -> Path:
        made = folder / f"{machine}.so"
        if not made.exists():
            spec = next(s for s in PRESETS.values() if s.machine == machine)
            options = [f"-I{path}" for path in libinfo.include_paths()]
            find_linker(spec).fcompile(str(made), [str(source)], options)
        return made

    return make


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For this machine."""
    return compiled(tmp_path_factory.mktemp("native") / "small.so", "native")


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the board."""
    return compiled(tmp_path_factory.mktemp("aarch64") / "small.so", "aarch64")


@pytest.fixture(scope="session")
def board() -> Path:
    """The Python of an aarch64 machine with TVM's runtime."""
    if not BOARD.exists():
        pytest.skip(NO_BOARD)
    return BOARD


@pytest.fixture(scope="session")
def emulated(board: Path) -> Iterator[str]:
    """Address of a server on the emulated board."""
    with served(board) as address:
        yield address


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of a server on this machine."""
    with running(*device_command("serve", "--port", 0)) as line:
        yield line.address


@pytest.fixture
def sshd(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[int, Path]]:
    with ssh_server(tmp_path_factory.mktemp("ssh")) as (port, folder):
        monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
        yield port, folder
