"""What is linked into programs: archives and objects, which show a program the C functions only."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

import tvm_mobilenet as tm
from tvm_mobilenet.artifact import toolchain
from tvm_mobilenet.artifact.emission import Emit, check_name
from tvm_mobilenet.artifact.native_header import NATIVE, functions
from tvm_mobilenet.errors import CInterfaceError, CodegenError, InputError, ToolchainError

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None, reason="no C compiler: apt install gcc"
)

PROGRAM = Path(__file__).with_name("program.c")
NAMES = ("first", "Second2")
TRIPLES = {"rpi4": "aarch64-linux-gnu", "rpi2": "arm-linux-gnueabihf"}
TWO = """
#include <stdio.h>
#include "first.h"
#include "Second2.h"
#define RUN(name) { \\
    name##_options options = {2, first_pool_share, pool}; \\
    name##_context* context; \\
    if (name##_create(&options, &context) || name##_run(context, inputs, outputs)) return 1; \\
    name##_destroy(context); \\
    fwrite(y, 4, 10, stdout); }
int main(void) {
    static float x[3 * 32 * 32], y[10];
    const void* inputs[] = {x};
    void* outputs[] = {y};
    first_pool* pool;
    if (fread(x, sizeof x, 1, stdin) != 1 || first_pool_create(2, &pool)) return 2;
    RUN(first) RUN(Second2)
    first_pool_destroy(pool);
    fputs(first_manifest_json(), stdout);
    return 0;
}
"""


def model() -> Any:
    return tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)


def image() -> Any:
    return np.random.default_rng(1).standard_normal((1, 3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tm.Compiled]]:
    """Archives of two networks with the same kernels and other weights, and their headers."""
    folder = tmp_path_factory.mktemp("two")
    made = [tm.compile(model(), seed=n, prefix=name, emit="a") for n, name in enumerate(NAMES)]
    for name, compiled in zip(NAMES, made, strict=True):
        compiled.export(folder / f"lib{name}.a")
        (folder / f"{name}.h").write_text(compiled.header)
    return folder, made


@pytest.mark.parametrize("how", ["-static", "-static-pie", "-pie"])
def test_two_networks_in_one_program(how: str, two: tuple[Path, list[tm.Compiled]]) -> None:
    folder, made = two
    (folder / "main.c").write_text(TWO)
    program, x = str(folder / "main"), image()
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wl,--fatal-warnings", "-pthread"]
    archives = [str(folder / f"lib{name}.a") for name in NAMES]
    command = ["gcc", how, *strict, str(folder / "main.c"), *archives, "-lm", "-o", program]
    subprocess.run(command, check=True)
    done = subprocess.run([program], input=x.tobytes(), stdout=subprocess.PIPE, check=True)
    expected = b"".join(compiled.module(x).tobytes() for compiled in made)
    assert done.stdout[: len(expected)] == expected
    assert expected[:40] != expected[40:]
    told = json.loads(done.stdout[len(expected) :])
    assert told["verification"]
    assert {**told, "sha256": ""} == {**made[0].manifest, "sha256": ""}


def symbols(path: Path, table: str = ".symtab") -> list[Any]:
    with path.open("rb") as file:
        return [s for s in ELFFile(file).get_section_by_name(table).iter_symbols() if s.name]


def is_seen(symbol: Any) -> bool:
    return (
        symbol["st_info"]["bind"] != "STB_LOCAL"
        and symbol["st_shndx"] != "SHN_UNDEF"
        and symbol["st_other"]["visibility"] == "STV_DEFAULT"
    )


@pytest.fixture(scope="module", params=["gcc", "zig"])
def alone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first of the two as an object, not verified."""
    with pytest.MonkeyPatch.context() as patched:
        if request.param == "zig":
            patched.setenv("PATH", "/nowhere")
            patched.delenv("CC", raising=False)
        made = tm.compile(model(), prefix="first", emit="object", verify=False)
    return made.export(tmp_path_factory.mktemp(request.param) / "first.o")


def test_nothing_else_is_seen(alone: Path, tmp_path: Path) -> None:
    public = set(functions("first").values())
    found = symbols(alone)
    assert {s.name for s in found if is_seen(s)} == public
    shared = {s.name for s in found if s["st_info"]["bind"] != "STB_LOCAL"}
    needed = {
        s.name for s in found if s["st_shndx"] == "SHN_UNDEF" and s["st_info"]["bind"] != "STB_WEAK"
    }
    assert all(name.startswith("first.") for name in shared - public - needed)
    assert not {name for name in needed if "@" in name or "tmn" in name or "TVM" in name}
    assert not {s.name for s in found if "library_bin" in s.name}, "only TVM reads it"
    subprocess.run(["gcc", "-shared", str(alone), "-o", str(tmp_path / "its.so")], check=True)
    assert {s.name for s in symbols(tmp_path / "its.so", ".dynsym") if is_seen(s)} == public


@pytest.mark.parametrize("alone", ["gcc"], indirect=True)
def test_the_same_bytes_each_time(alone: Path, two: tuple[Path, list[tm.Compiled]]) -> None:
    archive, once = two[0] / "libfirst.a", alone.read_bytes()
    inside = subprocess.run(["ar", "p", str(archive)], stdout=subprocess.PIPE, check=True).stdout
    # They differ in the manifest, which says that the one is verified.
    start = once.index(b'{"')
    assert inside[:start] == once[:start]
    assert len(inside) == len(once)


@pytest.mark.parametrize(("target", "linker"), [("rpi4", "cross"), ("rpi2", "zig")])
def test_for_arm(
    target: str,
    linker: str,
    two: tuple[Path, list[tm.Compiled]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    triple = TRIPLES[target]
    emulator = shutil.which(f"qemu-{triple.partition('-')[0]}-static")
    compiler = shutil.which(f"{triple}-gcc")
    if emulator is None or compiler is None:
        pytest.skip(f"no emulated ARM: apt install qemu-user-static gcc-{triple}")
    with monkeypatch.context() as patched:
        if linker == "zig":
            patched.setenv("PATH", "/nowhere")
        board = tm.compile(model(), target=target, emit="a")
    archive, x = board.export(tmp_path / "libnet.a"), image()
    x.tofile(tmp_path / "in.bin")
    options = ["-static", "-std=c11", "-D_ISOC11_SOURCE", "-pthread", f"-I{NATIVE}"]
    made = [str(PROGRAM), str(archive), "-lm", "-o", str(tmp_path / "program")]
    subprocess.run([compiler, *options, *made], check=True)
    files = [str(tmp_path / "in.bin"), str(tmp_path / "out.bin")]
    command = [emulator, str(tmp_path / "program"), "2", "own", *files]
    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)
    y = np.fromfile(tmp_path / "out.bin", np.float32).reshape(1, 10)
    np.testing.assert_allclose(y, two[1][0].module(x), rtol=1e-4)


def test_a_header_takes_no_linker(
    two: tuple[Path, list[tm.Compiled]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_linker(*_: object) -> Any:
        raise ToolchainError("nothing links")

    monkeypatch.setattr("tvm_mobilenet.compilation.compile.find_linker", no_linker)
    made = tm.compile(model(), prefix="first", emit="c-header")
    path = made.export(tmp_path / "first.h")
    assert path.read_bytes() == (two[0] / "first.h").read_bytes()
    assert made.report.microseconds is None
    with pytest.raises(InputError, match="only the header"):
        _ = made.module


@pytest.mark.parametrize(
    ("emit", "name"),
    [
        ("so", "m.a"),
        ("so", "m.h"),
        ("a", "m.so"),
        ("a", "m"),
        ("object", "m.a"),
        ("c-header", "m.o"),
    ],
)
def test_names_that_say_something_else(emit: Emit, name: str) -> None:
    with pytest.raises(InputError, match="whose name ends in"):
        check_name(name, emit)


def test_a_name_is_looked_at_first(tmp_path: Path) -> None:
    done = commands.run("compile", "v1", "--emit", "object", "-o", tmp_path / "m.a")
    assert done.returncode == 2
    assert "m.a would be a relocatable object" in done.stderr
    assert "or ask for emit a" in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "folder", "words"),
    [
        (["--emit", "object"], "net", "emit so or a"),
        (["--emit", "c-header"], "net", "emit so or a"),
        (["--prefix", "string"], "net", "would hide the system's"),
        ([], "file/net", "cannot make the folder"),
        (["-o", "m.so"], "net", "or else a folder by --package"),
    ],
)
def test_packages_that_cannot_be(
    options: list[str], folder: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    done = commands.run("compile", "v1", *options, "--package", tmp_path / folder)
    assert done.returncode == 2
    assert words in done.stderr
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "asked", [["--prefix", "net"], ["--emit", "a"], ["--header", "m.h"], ["--package", "net"]]
)
def test_a_gpu_has_no_c_functions(asked: list[str], tmp_path: Path) -> None:
    output = [] if "--package" in asked else ["-o", "m.a" if "--emit" in asked else "m.so"]
    done = commands.run("compile", "v1", "--target", "opencl", *output, *asked)
    assert done.returncode == 2
    assert f"no {asked[0].removeprefix('--')} here: they name C functions" in done.stderr
    assert "opencl is a GPU" in done.stderr
    with pytest.raises(CInterfaceError, match="prefix and emit"):
        tm.compile("v1", target="opencl", prefix="net", emit="object")


@pytest.mark.parametrize("asked", [{"prefix": "net"}, {"emit": "a"}])
def test_a_network_that_only_the_virtual_machine_runs(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_calls(*_: object) -> Any:
        raise CodegenError("a shape is computed")

    monkeypatch.setattr("tvm_mobilenet.emit.relax.codegen.read_calls", no_calls)
    with pytest.raises(CInterfaceError, match="no C interface"):
        tm.compile(model(), **asked)


def test_ar_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gcc = str(shutil.which("gcc"))
    linker = toolchain.Linker("cc", (gcc,), "x86_64")
    (tmp_path / "a.c").write_text("int f(void) { return 1; }")
    linker.merge([tmp_path / "a.c"], tmp_path / "a.o")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolchainError, match="cannot run ar"):
        linker.archive([tmp_path / "a.o"], tmp_path / "a.a")
    assert sorted(os.listdir(tmp_path)) == ["a.c", "a.o"]
