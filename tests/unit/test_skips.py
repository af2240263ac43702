"""What a run says last: what was skipped, why, how often, and the command that gets it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import skips

HERE = Path(skips.__file__).parent
NO_SSHD = "no sshd: apt install openssh-server"
ROOT = "root may write anywhere"
TESTS = f"""
import pytest

@pytest.mark.parametrize("number", range(3))
def test_without(number): pytest.skip({NO_SSHD!r})

@pytest.mark.skipif(True, reason={ROOT!r})
def test_as_root(): pass

def test_alright(): pass

@pytest.mark.xfail(reason="known")
def test_known(): assert 0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("conftest.py", "skips.py"):
        shutil.copy(HERE / name, tmp_path)
    (tmp_path / "test_some.py").write_text(TESTS)
    return tmp_path


def pytest_there(folder: Path, *options: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("spread", [(), ("-n", "2")])
def test_the_last_lines_of_pytest(folder: Path, spread: tuple[str, ...]) -> None:
    *_, told, root, nothing, sshd, command, end = pytest_there(folder, *spread)
    assert told == "4 skipped. What they lacked, and the command that gets it:"
    assert (root, nothing) == (f"   1  {ROOT}", "        (nothing: so it is here)")
    assert (sshd, command) == ("   3  no sshd", "        apt install openssh-server")
    assert "1 passed, 4 skipped, 1 xfailed" in end


def test_the_reports_of_two_runs(folder: Path) -> None:
    for name in ("a", "b"):
        pytest_there(folder, "--junitxml", f"{name}.xml")
    reports = [str(folder / f"{name}.xml") for name in ("a", "b")]
    done = subprocess.run(
        [sys.executable, str(HERE / "skips.py"), *reports],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[1] == "8 skipped. What they lacked, and the command that gets it:"
    assert "   6  no sshd" in lines
    assert "make test-relay" in lines[-1]


def test_what_ci_refuses(folder: Path) -> None:
    pytest_there(folder, "--junitxml", "a.xml")
    command = [
        sys.executable,
        str(HERE / "skips.py"),
        str(folder / "a.xml"),
        "--allow",
        "may write",
    ]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.count(NO_SSHD) == 3
    assert ROOT not in refused.stderr
    # What can be had is refused whatever is allowed.
    found = skips.skipped_in([str(folder / "a.xml")])
    assert len(skips.refused(found, ["no sshd", ROOT])) == 3
    assert len(skips.refused(found, [])) == 4


def test_a_command_is_known_by_its_program() -> None:
    for reason, parts in {
        NO_SSHD: ("no sshd", "apt install openssh-server"),
        "no nvcc: there is none: pip install 'x[cuda]'": (
            "no nvcc: there is none",
            "pip install 'x[cuda]'",
        ),
        "this machine has none: really": ("this machine has none: really", ""),
    }.items():
        assert skips.split(reason) == parts


def test_nothing_skipped_is_said_so() -> None:
    assert skips.summary([]) == ["Nothing was skipped."]
