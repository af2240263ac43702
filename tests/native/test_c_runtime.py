"""The C runtime over a network without TVM: its own tests, plain and under sanitizers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tvm_mobilenet.artifact.native_header import NATIVE

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None, reason="no C compiler: apt install gcc"
)

HERE = Path(__file__).parent
# After a fork ThreadSanitizer knows no threads, so it takes no part in those tests.
TESTS = [
    "right",
    "side_by_side",
    "handed_on",
    "callers_threads",
    "callers_memory",
    "bad_input",
    "failures",
    "nothing_stays",
    "processor",
    "shared_pool",
    "observed",
]
UNSANITIZED = [*TESTS, "forks", "pool_forks", "sleep_soon", "faults"]
PROGRAM = ("fake_network.c", "runtime.c", "inside.c")
SANITIZERS = {
    "plain": [],
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "thread": ["-fsanitize=thread"],
}


def build(folder: Path, *options: str, compiler: Sequence[str] = ("gcc",)) -> Path:
    strict = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread", f"-I{NATIVE}"]
    sources = [*sorted(NATIVE.glob("*.c")), *(HERE / name for name in PROGRAM)]
    made = folder / "runtime"
    subprocess.run([*compiler, *strict, *options, *map(str, sources), "-o", str(made)], check=True)
    return made


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        name: build(tmp_path_factory.mktemp(name), *options) for name, options in SANITIZERS.items()
    }


@pytest.mark.parametrize(
    ("how", "name"),
    [(how, name) for how in SANITIZERS for name in (UNSANITIZED if how == "plain" else TESTS)],
)
def test_the_runtime(programs: dict[str, Path], how: str, name: str) -> None:
    done = subprocess.run(
        [str(programs[how]), name], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Sanitizer" not in done.stderr


def test_a_processor_without_what_is_needed(tmp_path: Path) -> None:
    subprocess.run([str(build(tmp_path, "-DLACKING")), "processor"], check=True)


@pytest.mark.parametrize("triple", ["aarch64-linux-gnu", "arm-linux-gnueabihf"])
def test_on_arm(triple: str, tmp_path: Path) -> None:
    emulator = shutil.which(f"qemu-{triple.partition('-')[0]}-static")
    if emulator is None or shutil.which(f"{triple}-gcc") is None:
        pytest.skip(f"no emulated ARM: apt install qemu-user-static gcc-{triple}")
    made = str(build(tmp_path, compiler=[f"{triple}-gcc"]))
    for name in [*TESTS, "forks", "pool_forks"]:
        subprocess.run([emulator, "-L", f"/usr/{triple}", made, name], check=True, timeout=120)


RISCV = ("qemu-riscv64-static", "-cpu", "rv64,v=false", "-L", "/usr/riscv64-linux-gnu")
LACKING = "no emulated RISC-V: apt install qemu-user-static libc6-riscv64-cross"
ELSEWHERE = {
    # The version that artifacts are linked for: zig has it at hand.
    "riscv64-linux-gnu.2.28": (RISCV, LACKING),
    "x86_64-linux-musl": (("/lib/ld-musl-x86_64.so.1",), "no musl for x86-64: apt install musl"),
}


@pytest.mark.parametrize("triple", ELSEWHERE)
def test_linked_by_zig(triple: str, tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="no ziglang: pip install ziglang")
    command, lacking = ELSEWHERE[triple]
    if shutil.which(command[0]) is None or not Path(command[-1]).exists():
        pytest.skip(lacking)
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", triple]
    made = str(build(tmp_path, "-dynamic", compiler=zig))
    for name in [*TESTS, "forks"]:
        subprocess.run([*command, made, name], check=True, timeout=120)


@pytest.mark.parametrize(("compiler", "standard"), [("gcc", "c99"), ("g++", "c++98")])
def test_the_header_is_plain(compiler: str, standard: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}: apt install {compiler}")
    source = tmp_path / ("a.c" if compiler == "gcc" else "a.cpp")
    source.write_text('#include "tvm_mobilenet.h"\n')
    strict = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", f"-std={standard}"]
    subprocess.run([compiler, *strict, f"-I{NATIVE}", str(source)], check=True)
