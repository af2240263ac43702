"""tvm-mobilenet-runtime: built, installed beside NumPy alone, and used."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import processor_seconds

import tvm_mobilenet as tm
from tvm_mobilenet.cli.app import command_line
from tvm_mobilenet.cli.small import _parser

ROOT = Path(__file__).parents[2]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def finished(*command: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        env={k: v for k, v in os.environ.items() if k not in ("COLUMNS", "PYTHONPATH")},
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    staged = finished(sys.executable, ROOT / "wheels/stage_runtime.py", folder / "staged")
    assert staged.returncode == 0, staged.stderr
    code = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    built = finished(sys.executable, "-c", code, folder, cwd=folder / "staged")
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def board(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment with the wheel, NumPy, and nothing else."""
    home = tmp_path_factory.mktemp("board") / "env"
    made = finished(sys.executable, "-m", "venv", "--without-pip", home)
    assert made.returncode == 0, made.stderr
    python = home / "bin/python"
    install = ("-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps")
    done = finished(sys.executable, *install, wheel)
    assert done.returncode == 0, done.stderr
    packages = next(home.glob("lib/python*/site-packages"))
    numpy = Path(np.__file__).parent
    for path in (numpy, numpy.with_name("numpy.libs")):
        if path.is_dir():
            (packages / path.name).symlink_to(path)
    return home / "bin"


@pytest.fixture
def on_board(board: Path) -> Run:
    return lambda *arguments: finished(board / "tvm-mobilenet", *arguments)


def python(board: Path, code: str) -> subprocess.CompletedProcess[str]:
    return finished(board / "python", "-I", "-c", code)


def test_it_is_small_and_says_what_it_needs(wheel: Path) -> None:
    assert wheel.stat().st_size < 1_000_000
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        said = email.message_from_bytes(archive.read(metadata))
    assert (said["Name"], said["Version"]) == ("tvm-mobilenet-runtime", tm.__version__)
    needs = said.get_all("Requires-Dist", [])
    assert [need for need in needs if "extra" not in need] == ["numpy>=1.26"]
    assert set(said.get_all("Provides-Extra", [])) == {"images", "opencl"}
    assert "tvm_mobilenet/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_an_import_of_what_it_lacks_ends_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "wheels")
    import stage_runtime

    found = stage_runtime.modules()
    assert "tvm_mobilenet.runtime.module" in found
    assert "tvm_mobilenet.runtime.vm" not in found
    monkeypatch.setattr(stage_runtime, "ENTRIES", ("tvm_mobilenet.runtime.vm",))
    with pytest.raises(stage_runtime.PackagingError, match=r"tvm_library imports tvm_ffi, which"):
        stage_runtime.modules()


def test_every_module_imports_beside_numpy_alone(wheel: Path, board: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = [name for name in archive.namelist() if name.endswith(".py")]
    modules = [name[:-3].replace("/", ".") for name in files if "__main__" not in name]
    assert len(modules) > 40
    code = f"import importlib\nfor name in {modules}: importlib.import_module(name)"
    run = python(board, code)
    assert run.returncode == 0, run.stderr


def test_what_it_lacks_is_refused_by_name(board: Path, on_board: Run) -> None:
    code = """
import tvm_mobilenet as tm
assert "load" in dir(tm) and "compile" not in dir(tm), dir(tm)
for name in ("compile", "tune", "open_device", "TargetSpec"):
    try:
        getattr(tm, name)
    except tm.TvmMobilenetError as error:
        assert isinstance(error, ImportError)
        print(error)
from tvm_mobilenet import verify
"""
    run = python(board, code)
    for name in ("compile", "tune", "open_device", "TargetSpec"):
        assert f"'{name}' is not in tvm-mobilenet-runtime, which loads and runs" in run.stdout
    assert "NotInstalledError: 'verify' is not in tvm-mobilenet-runtime" in run.stderr
    refused = on_board("compile", "v1", "-o", "m.so")
    assert refused.returncode == 2
    assert "error: the command 'compile' is not in tvm-mobilenet-runtime" in refused.stderr
    assert "pip install tvm-mobilenet" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_both_in_one_environment_are_told(board: Path, tmp_path: Path) -> None:
    """Whichever came last has overwritten the other's files, and takes them along when it goes."""
    (tmp_path / "tvm_mobilenet-0.1.0.dist-info").mkdir()
    metadata = tmp_path / "tvm_mobilenet-0.1.0.dist-info/METADATA"
    metadata.write_text("Metadata-Version: 2.1\nName: tvm-mobilenet\nVersion: 0.1.0\n")
    code = f"import sys; sys.path.append({str(tmp_path)!r}); import tvm_mobilenet; "
    run = python(board, code + "tvm_mobilenet.compile")
    assert "tvm-mobilenet and tvm-mobilenet-runtime are both installed" in run.stderr
    assert "pip uninstall tvm-mobilenet-runtime, then pip install --force-reinstall" in run.stderr


def test_help_and_version(board: Path, on_board: Run) -> None:
    shown = on_board("--version")
    assert (shown.returncode, shown.stdout) == (0, f"tvm-mobilenet-runtime {tm.__version__}\n")
    assert on_board().stdout == on_board("--help").stdout
    for command in ("run", "bench", "inspect"):
        shown = on_board(command, "--help")
        assert shown.returncode == 0, shown.stderr
        assert f"tvm-mobilenet {command} mobilenet.so" in shown.stdout
        assert max(map(len, shown.stdout.splitlines())) <= 81
        by_name = finished(board / "python", "-I", "-m", "tvm_mobilenet", command, "--help")
        assert by_name.stdout == shown.stdout


@pytest.mark.alone
def test_it_answers_at_once(on_board: Run) -> None:
    seconds = []
    for _ in range(3):
        start = processor_seconds()
        assert on_board("--help").returncode == 0
        seconds.append(processor_seconds() - start)
    assert min(seconds) < 0.15


def test_its_options_are_those_of_the_same_commands() -> None:
    group = command_line()
    (commands,) = (action.choices for action in _parser()._actions if action.choices)
    for name, command in commands.items():
        whole = {text: option for option in group.commands[name].params for text in option.opts}
        for action in command._actions:
            for text in action.option_strings:
                if text in ("-h", "--help"):
                    continue
                assert action.help == whole[text].help, (name, text)
                if action.nargs != 0:
                    assert action.default == whole[text].default, (name, text)


def test_inspect_answers_as_ever(on_board: Run, artifact: Path) -> None:
    ours = finished(sys.executable, "-m", "tvm_mobilenet", "inspect", artifact)
    theirs = on_board("inspect", artifact)
    assert theirs.returncode == 0, theirs.stderr
    assert theirs.stdout == ours.stdout


def test_it_loads_and_runs(board: Path, on_board: Run, artifact: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal(tm.load(artifact).inputs[0]["shape"], np.float32)
    np.save(tmp_path / "x.npy", x)
    saved = on_board("run", artifact, tmp_path / "x.npy", "--save", tmp_path / "y.npy", "--json")
    assert saved.returncode == 0, saved.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), tm.load(artifact)(x))
    timed = on_board("bench", artifact, "--threads", "1,2", "--rounds", 2, "--seconds", 0.02)
    assert timed.returncode == 0, timed.stderr
    assert "median ms" in timed.stdout
    assert "peak" not in timed.stdout
    lacking = on_board("run", artifact, ROOT / "photograph.png")
    assert lacking.returncode == 2
    assert "pip install 'tvm-mobilenet-runtime[images]'" in lacking.stderr
