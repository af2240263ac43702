"""``doctor``: one screen, whatever is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from tvm_mobilenet.cli import doctor, examining
from tvm_mobilenet.cli.examining import Finding

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def screen(run: Run) -> str:
    shown = run("doctor", COLUMNS="80")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    return shown.stdout


def test_one_screen_of_eighty_columns(screen: str) -> None:
    lines = screen.splitlines()
    assert len(lines) <= 50
    commands = screen.find("To get what is missing")
    for line in screen[:commands].splitlines():
        # A path may be longer than a line; nothing else is.
        assert len(line) < 80 or " " not in line[17:].strip(), line


def test_it_says_what_is_here(screen: str) -> None:
    first, *_ = screen.splitlines()
    assert first.startswith("works            a small network, compiled, verified and called in ")
    for said in (
        f"apache-tvm {metadata.version('apache-tvm')}",
        f"apache-tvm-ffi {metadata.version('apache-tvm-ffi')}",
        "stack relax",
        sys.executable,
        f"{len(os.sched_getaffinity(0))} of ",
        "avx2" if "avx2" in Path("/proc/cpuinfo").read_text() else "processor",
    ):
        assert said in " ".join(screen.split()), said


def test_what_is_missing_comes_with_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("tvm_mobilenet.artifact.toolchain.importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr(doctor, "CHECKS", (examining._linkers, examining._nvcc))
    assert not doctor.examine(as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["works"] is False
    by_name = {finding["name"]: finding for finding in found["findings"]}
    assert "apt install gcc libc6-dev" in by_name["C compiler"]["get"]
    assert "apt install gcc-aarch64-linux-gnu" in by_name["for aarch64"]["get"]
    assert "tvm-mobilenet[cross]" in by_name["for armv7"]["get"]
    assert not any(finding["ok"] for finding in found["findings"][:3])


def test_a_broken_tvm_is_told_without_a_traceback(tmp_path: Path) -> None:
    """It cannot even be imported, and would take the process with it."""
    for name, code in (("raises", "raise OSError('libtvm.so: file too short')"), ("dies", DIES)):
        broken = tmp_path / name
        (broken / "tvm").mkdir(parents=True)
        (broken / "tvm" / "__init__.py").write_text(code)
        shown = subprocess.run(
            [sys.executable, "-m", "tvm_mobilenet", "doctor", "--json"],
            env={**os.environ, "PYTHONPATH": str(broken)},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert shown.returncode == 2
        assert "Traceback" not in shown.stdout + shown.stderr
        first, *others = json.loads(shown.stdout)["findings"]
        assert not first["ok"]
        assert "file too short" in first["found"] or "signal 11" in first["found"]
        assert "apache-tvm==" in first["get"]
        assert {"Python", "C compiler", "extras", "OpenCL"} <= {one["name"] for one in others}


DIES = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"


def test_the_command_to_reinstall_names_the_pins() -> None:
    pins = [text for text in metadata.requires("tvm-mobilenet") or [] if "==" in text]
    pins = [text for text in pins if text.startswith("apache-tvm")]
    assert len(pins) == 2
    assert all(pin.partition(";")[0].strip() in examining._REINSTALL["relax"] for pin in pins)


def test_a_check_that_fails_costs_its_own_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def _fine() -> Iterator[Finding]:
        yield Finding("fine", "yes")

    def _odd_one() -> Iterator[Finding]:
        yield Finding("half", "told before")
        raise RuntimeError("no such thing")

    monkeypatch.setattr(doctor, "CHECKS", (_fine, _odd_one, _fine))
    assert doctor.examine(as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "fine             yes",
        "half             told before",
        "odd one          - RuntimeError: no such thing",
        "fine             yes",
    ]


def test_lines_fit_and_commands_stay_whole() -> None:
    command = "pip install 'tvm-mobilenet[" + "cross," * 12 + "tune]'"
    lines = doctor._lines([Finding("extras", "many words " * 20, False, command)], 60)
    *told, get = lines[: lines.index("")], lines[lines.index("") :]
    assert all(len(line) < 60 for line in told[0])
    assert told[0][0].startswith("extras           - many words")
    assert any(command.rsplit(maxsplit=1)[-1] in line for line in get)


def test_extras_are_read_off_the_metadata() -> None:
    found = examining.extras_of(
        [
            "a>=1",
            'b-c>=2; extra == "x"',
            "d; python_version < '3.11' and extra == 'y'",
            'e; extra == "x"',
        ]
    )
    assert found == {"x": ["b-c", "e"], "y": ["d"]}
    assert set(examining._EXTRAS) <= set(
        metadata.metadata("tvm-mobilenet").get_all("Provides-Extra")
    )


def test_a_cache_is_weighed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_bytes(b"x" * 1_500_000)
    monkeypatch.setenv("TVM_MOBILENET_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    found = {finding.name: finding.found for finding in examining._caches()}
    assert found["trained weights"] == f"{tmp_path}, 1.5 MB"
    assert found["Hugging Face"] == f"{tmp_path / 'none'}, not there yet"


def test_two_distributions_of_the_same_files_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examining, "both_installed", lambda: True)
    (found,) = (one for one in examining._versions() if one.name == "tvm-mobilenet-runtime")
    assert not found.ok
    assert "pip install --force-reinstall --no-deps tvm-mobilenet" in found.get
