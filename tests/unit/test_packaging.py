"""The package as it installs: what is in it, how fast it starts, which TVM it takes."""

from __future__ import annotations

import email
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from commands import processor_seconds

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    tomllib = pytest.importorskip("tomli", reason="no TOML reader: pip install tomli")

import tvm_mobilenet as tm

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TOP_LEVEL = {"schedules", "tuning_logs"}  # install inside the package
BESIDE = ("LICENSE", "MANIFEST.in")


def packages_of_the_tree() -> set[str]:
    found = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for file in (ROOT / "tvm_mobilenet").rglob("__init__.py")
    }
    for name in TOP_LEVEL:
        found |= {
            ".".join(("tvm_mobilenet", *file.parent.relative_to(ROOT).parts))
            for file in (ROOT / name).rglob("__init__.py")
        }
    return found


def test_every_package_is_listed() -> None:
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages_of_the_tree()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what packages are made from: making them leaves files."""
    source = tmp_path_factory.mktemp("source")
    ignore = shutil.ignore_patterns("__pycache__", "*.so")
    for name in ("tvm_mobilenet", *TOP_LEVEL):
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for path in (*ROOT.glob("*.md"), *(ROOT / name for name in ("pyproject.toml", *BESIDE))):
        shutil.copy(path, source)
    return source


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--wheel-dir", str(folder), str(source)),
        ],
        check=True,
        capture_output=True,
        timeout=600,
    )
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_wheel_holds_schedules_and_logs(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert "tvm_mobilenet/tuning_logs/README.md" in names
    assert "tvm_mobilenet/py.typed" in names
    modules = {
        f"tvm_mobilenet/{file.relative_to(ROOT).as_posix()}"
        for file in (ROOT / "schedules").rglob("*.py")
    }
    assert modules
    assert modules <= names


def test_the_license_goes_with_the_wheel(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/licenses/LICENSE"))
    assert wheel.read(name) == (ROOT / "LICENSE").read_bytes()
    text = " ".join((ROOT / "LICENSE").read_text().split())
    assert text.startswith("Apache License Version 2.0, January 2004")
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_wheel_says_who_and_what_for(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    said = email.message_from_bytes(wheel.read(name))
    assert said["License-Expression"] == "Apache-2.0"
    assert said["License-File"] == "LICENSE"
    assert said["Author"] == "The tvm_mobilenet founders"
    assert said["Requires-Python"] == ">=3.10"
    urls = dict(url.split(", ", 1) for url in said.get_all("Project-URL", []))
    assert urls["Homepage"].startswith("https://pypi.org/project/tvm-mobilenet")
    classifiers = set(said.get_all("Classifier", []))
    for minor in range(10, 14):
        assert f"Programming Language :: Python :: 3.{minor}" in classifiers
    # With a license expression, a classifier of the license is an error (PEP 639).
    assert not [text for text in classifiers if text.startswith("License ::")]
    assert "Typing :: Typed" in classifiers
    assert said.get_payload().lstrip().startswith("# tvm_mobilenet")


def test_the_source_archive_has_what_people_read(source: Path, tmp_path: Path) -> None:
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=source,
        check=True,
        capture_output=True,
        timeout=600,
    )
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "pyproject.toml"} <= names
    assert {"schedules/tensorir/cpu/pointwise.py", "tuning_logs/README.md"} <= names


def test_the_changelog_knows_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert versions[1].split()[0] == tm.__version__


def test_pins_are_the_installed_ones() -> None:
    from importlib.metadata import version

    pins = dict(
        requirement.split("==")
        for requirement in PROJECT["project"]["dependencies"]
        if "==" in requirement
    )
    assert set(pins) == {"apache-tvm", "apache-tvm-ffi"}
    assert {name: version(name) for name in pins} == pins


def test_version_is_stated_once() -> None:
    assert tm.__version__ == PROJECT["project"]["version"]


def test_metaschedule_survives_with_the_pinned_ffi() -> None:
    """apache-tvm-ffi 0.1.15 dies here (docs/adr/0002)."""
    code = """
import sys, types
# Intrinsics of other machines, which take 18 s to parse; our tuner leaves them out too.
for name in ("cuda", "rocm", "hexagon"):
    sys.modules["tvm.s_tir.tensor_intrin." + name] = types.ModuleType(name)
from tvm import te
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target
x = te.placeholder((16,), name="x")
f = te.create_prim_func([x, te.compute((16,), lambda i: x[i] + 1.0, name="y")])
context = ms.TuneContext(
    mod=f, target=Target({"kind": "llvm", "num-cores": 1}),
    space_generator="post-order-apply", search_strategy="evolutionary",
)
assert len(context.generate_design_space()) > 0
print("alive")
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "alive"


@pytest.mark.alone
def test_import_is_quick_and_light() -> None:
    code = "import sys, tvm_mobilenet; print(*sys.modules)"
    seconds = []
    for _ in range(3):
        start = processor_seconds()
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        seconds.append(processor_seconds() - start)
    assert not {"numpy", "tvm", "tvm_ffi", "onnx", "PIL", "rich"} & set(run.stdout.split())
    assert min(seconds) < 0.2


def test_functions_stay_functions_whatever_was_imported() -> None:
    """`bench` and `verify` are also modules; importing those must not hide the functions."""
    code = """
import tvm_mobilenet as tm
from tvm_mobilenet.bench.comparison import Row
from tvm_mobilenet.verify.artifact import sample_input
assert callable(tm.bench), tm.bench
assert callable(tm.verify), tm.verify
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600
    )
    assert run.returncode == 0, run.stderr


def test_public_names_exist() -> None:
    assert [name for name in tm.__all__ if not hasattr(tm, name)] == []
    assert set(tm.__all__) <= set(dir(tm))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = tm.no_such_name


def test_extras_named_in_errors_exist() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    assert {"bench", "cross", "demo", "lint", "plot", "test"} <= set(extras)
