"""``-v`` and ``-q``: what is told, what is not, wherever they stand."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tvm_mobilenet.cli import logs
from tvm_mobilenet.cli.app import command_line
from tvm_mobilenet.errors import WeightsError

Run = Callable[..., "CompletedProcess[str]"]
SMALL = ("--alpha", 0.25, "--resolution", 32, "--classes", 10, "--records", "none")


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What was told on standard error since the last time."""
    handlers, level, up = logs.LOGGER.handlers[:], logs.LOGGER.level, logs.LOGGER.propagate
    logs.start()
    yield lambda: capsys.readouterr().err
    logs.LOGGER.handlers[:], logs.LOGGER.propagate = handlers, up
    logs.LOGGER.setLevel(level)


def test_verbose_tells_phases_and_commands(run: Run, tmp_path: Path) -> None:
    made = run("compile", "v1", *SMALL, "-o", tmp_path / "m.so", "-v")
    assert made.returncode == 0, made.stderr
    assert re.search(r"^ +\d+\.\d\d s  phase legalize_rest: \d+\.\d\d s$", made.stderr, re.M)
    assert re.search(r"linking: .*-shared", made.stderr)
    assert "block13.pw: relative error" in made.stderr
    assert "MobileNet V1 0.25/32 for native" in made.stdout


def test_quiet_tells_the_result(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "m.so"
    made = run("-q", "compile", "v1", *SMALL, "-o", path)
    assert (made.returncode, made.stdout, made.stderr) == (0, f"{path}\n", "")
    checked = run("verify", "--quiet", path)
    assert checked.returncode == 0
    assert re.fullmatch(
        r"end to end: max abs \S+, relative \S+ \(allowed 1e-05\)\n", checked.stdout
    )
    assert checked.stderr == ""


def test_errors_are_told_all_the_same(run: Run, tmp_path: Path) -> None:
    for where in (("-q", "verify"), ("verify", "-q"), ("verify",)):
        failed = run(*where, tmp_path / "none.so")
        assert failed.returncode == 2
        assert failed.stderr.startswith("error: ")
        assert "Traceback" not in failed.stderr


def test_verbose_tells_what_caused_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "w.npz").write_bytes(b"no archive")
    arguments = ("compile", "v1", *SMALL, "--weights", tmp_path / "w.npz", "-o", tmp_path / "m.so")
    brief, full = run(*arguments), run("-v", *arguments)
    assert brief.returncode == full.returncode == 2
    assert brief.stderr.startswith("error: ")
    assert "Traceback (most recent call last)" in full.stderr
    assert full.stderr.endswith(brief.stderr)


def test_both_are_refused(run: Run, tmp_path: Path) -> None:
    refused = run("-q", "verify", "-v", tmp_path / "none.so")
    assert refused.returncode == 2
    assert "exclude each other" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_every_command_takes_them() -> None:
    waiting, seen = [command_line()], 0
    while waiting:
        command = waiting.pop()
        names = {name for option in command.params for name in option.opts}
        assert {"-v", "--verbose", "-q", "--quiet"} <= names, command.name
        waiting += getattr(command, "commands", {}).values()
        seen += 1
    assert seen > 15


def test_a_warning_is_one_line_and_in_full_with_its_place(told: Callable[[], str]) -> None:
    with pytest.warns(UserWarning, match="odd") as caught:
        warnings.warn("odd", UserWarning, stacklevel=1)
    logs.tell_warning(caught[0])
    assert told() == "warning: odd\n"
    logs.be_verbose(True)
    logs.tell_warning(caught[0])
    assert re.fullmatch(r"warning: odd \(UserWarning, .*test_logs\.py:\d+\)\n", told())


def test_quiet_keeps_errors_and_drops_warnings(told: Callable[[], str]) -> None:
    logs.be_quiet(True)
    logging.getLogger("tvm_mobilenet.emit.relax.pipeline").warning("no")
    logging.getLogger("tvm_mobilenet").error("yes")
    assert told() == "error: yes\n"
    assert logs.is_quiet()
    assert not logs.is_verbose()


def test_the_library_says_nothing_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever imports the package decides about logging: it has no handler of its own."""
    from tvm_mobilenet.artifact.toolchain import find_linker
    from tvm_mobilenet.machine import host

    with caplog.at_level(logging.DEBUG, "tvm_mobilenet"):
        find_linker(host())
    program = (
        "import logging, sys, tvm_mobilenet.api; "
        "sys.exit(len(logging.getLogger('tvm_mobilenet').handlers))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_cause_is_told_with_verbose_alone(told: Callable[[], str]) -> None:
    try:
        try:
            raise OSError("the disk")
        except OSError as error:
            raise WeightsError("cannot be read", "try again") from error
    except WeightsError as error:
        failed = error
    logs.tell_causes(failed)
    assert told() == ""
    logs.be_verbose(True)
    logs.tell_causes(failed)
    shown = told()
    assert "OSError: the disk" in shown
    assert shown.endswith("WeightsError: cannot be read\n  → try again\n")
