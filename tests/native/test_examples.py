"""examples/: a network in programs in C, C++, Rust and Go, shared and static."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tvm_mobilenet as tm

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None, reason="no C compiler: apt install gcc"
)

EXAMPLES = Path(__file__).parents[2] / "examples"
TOOLS = {
    "c": {"pkg-config": "pkg-config"},
    "cpp": {"g++": "g++", "cmake": "cmake", "make": "make"},
    "rust": {"cargo": "cargo"},
    "go": {"pkg-config": "pkg-config", "go": "golang-go"},
}


@pytest.fixture(scope="module", params=["so", "a"])
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the folder of a network, what it computes, and an image's file."""
    folder = tmp_path_factory.mktemp("package")
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)
    compiled = tm.compile(model, prefix="net", emit=request.param)
    x = np.random.default_rng(1).standard_normal((1, 3, 32, 32)).astype(np.float32)
    x.tofile(folder / "image.f32")
    compiled.package(folder / "made")
    # Moved, since nothing in it may depend on where it was written.
    return (folder / "made").rename(folder / "net"), compiled.module(x), folder / "image.f32"


def c(folder: Path, package: Path, run: Callable[..., str]) -> Path:
    flags = run("pkg-config", "--cflags", "--libs", "net").split()
    source, made = EXAMPLES / "c" / "classify.c", folder / "classify"
    run("gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", source, *flags, "-o", made)
    return made


def cpp(folder: Path, package: Path, run: Callable[..., str]) -> Path:
    run("cmake", "-S", EXAMPLES / "cpp", "-B", folder, f"-DCMAKE_PREFIX_PATH={package}")
    run("cmake", "--build", folder)
    return folder / "classify"


def rust(folder: Path, package: Path, run: Callable[..., str]) -> Path:
    # Cargo writes a file beside the crate.
    crate = shutil.copytree(EXAMPLES / "rust", folder / "crate")
    run("cargo", "build", "--offline", "--manifest-path", crate / "Cargo.toml")
    return Path(crate / "target" / "debug" / "classify")


def go(folder: Path, package: Path, run: Callable[..., str]) -> Path:
    run("go", "build", "-o", folder / "classify")
    return folder / "classify"


def test_the_program_of_the_documentation(package: Any, tmp_path: Path) -> None:
    text = (EXAMPLES.parent / "docs" / "embedding.md").read_text()
    (tmp_path / "program.c").write_text(text.split("```c\n")[1].split("```")[0])
    strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    headers = f"-I{package[0] / 'include'}"
    subprocess.run(["gcc", *strict, headers, str(tmp_path / "program.c")], check=True)


@pytest.mark.parametrize("build", [c, cpp, rust, go])
def test_a_program(build: Callable[..., Path], package: Any, tmp_path: Path) -> None:
    for tool, of in TOOLS[build.__name__].items():
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}: apt install {of}")
    network, expected, image = package
    environment = {
        **os.environ,
        "CC": "gcc",
        "NET_DIR": str(network),
        "PKG_CONFIG_PATH": str(network / "lib" / "pkgconfig"),
        "LD_LIBRARY_PATH": str(network / "lib"),
        "GOCACHE": str(tmp_path / "cache"),
        "GOFLAGS": "-mod=mod",
    }

    def run(*command: object) -> str:
        done = subprocess.run(
            list(map(str, command)),
            env=environment,
            cwd=EXAMPLES / "go",
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    program = build(tmp_path, network, run)
    best, score = run(program, image).split()
    assert int(best) == expected.argmax()
    assert np.float32(score) == expected.max()
    refused = subprocess.run([program, image.parent], env=environment, check=False)
    assert refused.returncode not in {0, -6, -11}
