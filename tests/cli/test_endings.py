"""How commands end: closed and full streams, no room, no home, Ctrl-C; and what they print."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tvm_mobilenet.cli
from tvm_mobilenet.cli import ending
from tvm_mobilenet.common import scratch
from tvm_mobilenet.common.interpreter import python_module
from tvm_mobilenet.common.shown import LONGEST, shown
from tvm_mobilenet.errors import OutputError, WeightsError
from tvm_mobilenet.models.checkpoints import hub, pretrained
from tvm_mobilenet.runtime.artifact import read_manifest, write_manifest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
COMMAND = f"{sys.executable} -m tvm_mobilenet"
SMALL = ("compile", "v1", "--alpha", "0.25", "--resolution", "32", "--classes", "10")


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )


# Streams.


@pytest.mark.parametrize("words", ["models", "targets --json"])
def test_a_full_standard_output_is_named(words: str) -> None:
    done = shell(f"{COMMAND} {words} > /dev/full")
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_closed_standard_output_is_named() -> None:
    done = shell(f"{COMMAND} models >&-")
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard output is closed\n")


def test_a_reader_that_leaves_is_no_error() -> None:
    done = shell(f"{COMMAND} targets --json | true; echo ${{PIPESTATUS[0]}}")
    assert done.stdout == "1\n"
    assert done.stderr == ""


def test_closed_standard_input_and_error(artifact: Path) -> None:
    done = shell(f"{COMMAND} run {artifact} - <&-")
    assert done.returncode == 2
    assert "standard input holds neither" in done.stderr
    assert shell(f"{COMMAND} models v1 --json 2>&-").returncode == 0
    assert shell(f"{COMMAND} models v7 2>&-").returncode == 2


# Ctrl-C.


@pytest.mark.parametrize("phase", ["01_emit", "04_schedule_kernels"])
def test_ctrl_c_ends_at_once_and_quietly(phase: str, tmp_path: Path) -> None:
    """Before most of it, and where LLVM begins."""
    output, seen = tmp_path / "m.so", tmp_path / "ir"
    command = [sys.executable, "-m", "tvm_mobilenet", *SMALL, "-o", str(output)]
    process = subprocess.Popen(
        [*command, "--dump-ir", str(seen)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    while process.poll() is None and not list(seen.glob(f"{phase}*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == ""
    assert os.listdir(tmp_path) == ["ir"]  # neither the artifact nor temporary files


def test_ctrl_c_while_a_temporary_folder_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cleanup = tempfile.TemporaryDirectory.cleanup

    def interrupted(folder: tempfile.TemporaryDirectory[str]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        cleanup(folder)

    monkeypatch.setattr(tempfile.TemporaryDirectory, "cleanup", interrupted)
    # Whoever started the tests may have it ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), scratch.scratch() as folder:
            Path(folder, "object.o").touch()
    finally:
        signal.signal(signal.SIGINT, before)
    assert os.listdir(tmp_path) == []


def _interrupted() -> None:
    """As TVM does: the interrupt becomes an error of another name."""
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    except KeyboardInterrupt:
        raise AttributeError("no such thing") from None


def test_what_libraries_say_of_ctrl_c_is_not_shown() -> None:
    """They write to the descriptor; what we say, behind Python's stream, is shown."""
    script = """
import os, signal, sys, time
from tvm_mobilenet.cli.ending import run

def command():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    finally:
        os.write(2, b"left half done!\\n")
        print("kept 3 trials", file=sys.stderr)

status = run(command)
os.write(2, b"%d\\n" % status)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == "kept 3 trials\n130\n"


def _taken() -> None:
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    except KeyboardInterrupt:
        return


def _raising(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        (_interrupted, 130, ""),
        (_taken, 0, ""),
        (_raising(KeyboardInterrupt()), 130, ""),
        (_raising(SystemExit(3)), 3, ""),
        (_raising(SystemExit()), 0, ""),
        (_raising(SystemExit("why")), 1, ""),
        (_raising(MemoryError()), 2, "not enough memory"),
        (_raising(PermissionError(13, "Permission denied", "a\x1bb")), 2, "Permission denied"),
        (_raising(OSError(28, "No space left on device")), 2, "TMPDIR"),
        (_raising(OutputError("a\x1b[31mb", "c\u202ed")), 2, "error: a\\x1b[31mb\n  → c\\u202ed\n"),
    ],
)
def test_statuses(
    command: Callable[[], None], status: int, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        assert ending.run(command) == status
    finally:
        signal.signal(signal.SIGINT, before)
    said = capfd.readouterr()
    assert words in said.err
    assert "\x1b" not in said.err
    assert said.out == ""


def test_faults_of_our_own_are_not_hidden() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(AttributeError):
            ending.run(_raising(AttributeError("ours")))
    finally:
        signal.signal(signal.SIGINT, before)


# Folders.


def test_temporary_files_need_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    def nowhere(*_: object, **__: object) -> Any:
        raise FileNotFoundError(2, "No usable temporary directory found")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryDirectory", nowhere)
        patch.setattr(tempfile, "TemporaryFile", nowhere)
        for make in (scratch.scratch_folder, scratch.scratch_file):
            with pytest.raises(OutputError, match=r"no folder takes temporary files.*\n.*TMPDIR"):
                make()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    refused = pytest.raises(OutputError, match=r"cannot write temporary files in .*No space left")
    with refused, scratch.scratch():
        Path("/dev/full").write_bytes(b"x")
    with pytest.raises(PermissionError), scratch.scratch():
        raise PermissionError(13, "of something else")
    monkeypatch.setattr(scratch, "LEAST_ROOM", 1 << 62)
    with pytest.raises(OutputError, match=r"has room for \d+ bytes, and temporary files need"):
        scratch.scratch_folder()
    assert os.listdir(tmp_path) == []


def test_a_full_folder_of_temporary_files_is_named(tmp_path: Path, run: Run) -> None:
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"this machine lets nobody here mount a file system: {made.stderr.strip()}")
    try:
        done = run(*SMALL, "-o", tmp_path / "m.so", TMPDIR=str(place))
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
    assert done.returncode == 2
    assert f"{str(place)!r} has room for" in done.stderr
    assert "TMPDIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_home_and_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv(pretrained.CACHE, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(OutputError, match=f"no home directory.*\n.*{pretrained.CACHE}"):
        pretrained.cache_folder()


def test_a_hub_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")

    class ForeignError(Exception):
        """Of requests, httpx, …: not an OSError."""

    def fail(*_: object, **__: object) -> str:
        raise ForeignError("Request URL is missing an 'http://' protocol.\nmore")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    monkeypatch.setenv("HF_ENDPOINT", "foo")
    with pytest.raises(WeightsError, match=r"URL is missing .*HF_ENDPOINT is 'foo'") as caught:
        hub.fetch("hf-hub:a/b")
    assert "more" not in str(caught.value)


def test_processes_do_not_look_into_the_folder_one_stands_in(tmp_path: Path) -> None:
    for name in ("json", "numpy", "tvm_mobilenet", "probe"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('ran')")
    elsewhere = tmp_path / "installed"
    elsewhere.mkdir()
    (elsewhere / "probe.py").write_text("import sys, json, numpy; print(sys.argv[1:], __name__)")
    done = subprocess.run(
        [*python_module("probe"), "a", "b"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(elsewhere)},
    )
    assert done.stdout == "['a', 'b'] __main__\n", done.stderr


# What is printed.

EVIL = "\x1b]0;owned\x07\x1b[2J\u202egnp\u200b[red]x[/]"
SAFE = "\\x1b]0;owned\\x07\\x1b[2J\\u202egnp\\u200b[red]x[/]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (EVIL, SAFE),
        ("größer → 漢字 🙂", "größer → 漢字 🙂"),
        ("a\nb\tc\rd\x00", "a\\x0ab\\x09c\\x0dd\\x00"),
        ("\x9b31m\x85\u2028", "\\x9b31m\\x85\\u2028"),
        (b"\xff.so".decode(errors="surrogateescape"), "\\xff.so"),
        ("\ud800\U000e0041", "\\ud800\\U000e0041"),
        (7, "7"),
    ],
)
def test_nothing_hidden_and_no_order_reaches_a_terminal(text: object, expected: str) -> None:
    assert shown(text) == expected


def test_long_texts_are_cut_and_lines_can_be_kept() -> None:
    assert shown("a\nb", keep="\n") == "a\nb"
    cut = shown("x" * 10**6)
    assert len(cut) < LONGEST + 50
    assert cut.endswith("(1000000 characters)")


@pytest.fixture(scope="module")
def evil(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact whose manifest and file name give orders."""
    path = tmp_path_factory.mktemp("evil") / f"{EVIL.replace('/', '')}.so"
    path.write_bytes(artifact.read_bytes())
    manifest = read_manifest(path)
    manifest["calls"][0]["knobs"] = {EVIL: 1}
    weights = {**manifest["weights"], "source": EVIL}
    write_manifest(path, {**manifest, "title": EVIL, "producer": EVIL, "weights": weights})
    return path


@pytest.mark.parametrize("command", ["inspect", "run", "verify"])
def test_names_are_shown_and_not_obeyed(
    command: str, evil: Path, photograph: Path, run: Run
) -> None:
    more = (photograph, photograph) if command == "run" else ()
    done = run(command, evil, *more)
    assert "\\x1b]0;owned\\x07" in done.stdout + done.stderr
    for character in ("\x1b", "\x07", "\u202e", "\u200b"):
        assert character not in done.stdout + done.stderr
    if command != "verify":  # which does not know where the weights are
        assert "[red]x[/]" in done.stdout


def test_names_that_are_no_text_are_shown(artifact: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe.so"
    os.link(artifact, name)
    for encoding in ("utf-8", "ascii"):
        done = subprocess.run(
            [sys.executable, "-m", "tvm_mobilenet", "inspect", name],
            capture_output=True,
            check=False,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )
        assert done.returncode == 0, done.stderr
        assert b"\\xff\\xfe.so" in done.stdout.replace(b"\n", b"")  # a long path is folded


def test_one_place_prints() -> None:
    """What is printed elsewhere would not be looked at."""
    folder = Path(tvm_mobilenet.cli.__file__).parent
    found = {
        path.name
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    }
    assert found == {"output.py", "ending.py", "logs.py"}
