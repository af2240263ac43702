"""Linking: what is found, what it makes, and what is said when there is nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from tvm_mobilenet.artifact.toolchain import Linker, find_linker
from tvm_mobilenet.artifact.toolchain_zig import uses_compiler_runtime
from tvm_mobilenet.errors import OutputError, ToolchainError
from tvm_mobilenet.machine import PRESETS, TargetSpec, host_machine, parse

NO_ZIG = "no ziglang: pip install ziglang"
ELF_MACHINES = {"rpi4": "EM_AARCH64", "rpi2": "EM_ARM", "riscv64": "EM_RISCV"}


def build(spec: TargetSpec, dtype: str = "float32"):
    """Compile exp(a) + 1 of 8 elements: one call into libm, no loop to speak of."""
    import tvm
    from tvm import te

    a = te.placeholder((8,), dtype, name="a")
    b = te.compute((8,), lambda i: te.exp(a[i]) + tvm.tirx.const(1, dtype), name="b")
    function = te.create_prim_func([a, b]).with_attr("global_symbol", "plus_one")
    return tvm.build(function, target=tvm.target.Target(spec.tvm_dict()))


@pytest.fixture
def no_compilers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Leave PATH with one empty folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CC", raising=False)
    return folder


def program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def header(path: Path) -> tuple[str, str]:
    with path.open("rb") as file:
        elf = ELFFile(file)
        return elf["e_machine"], elf["e_type"]


def test_native_object_links_loads_and_runs(tmp_path: Path) -> None:
    import numpy as np
    import tvm

    spec = parse("native")
    linker = find_linker(spec)
    path = tmp_path / "one.so"
    build(spec).export_library(str(path), fcompile=linker.fcompile)
    a = np.linspace(-1, 1, 8, dtype="float32")
    source, result = tvm.runtime.tensor(a), tvm.runtime.empty((8,), "float32")
    tvm.runtime.load_module(str(path))["plus_one"](source, result)
    np.testing.assert_allclose(result.numpy(), np.exp(a) + 1, rtol=1e-6)
    assert list(tmp_path.iterdir()) == [path]
    assert spec.machine in linker.describe()


@pytest.mark.parametrize("name", sorted(ELF_MACHINES))
def test_zig_links_for_another_machine(name: str, no_compilers: Path, tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason=NO_ZIG)
    spec = PRESETS[name]
    linker = find_linker(spec)
    assert linker.name == "zig"
    path = tmp_path / "one.so"
    build(spec).export_library(str(path), fcompile=linker.fcompile)
    assert header(path) == (ELF_MACHINES[name], "ET_DYN")
    with path.open("rb") as file:
        elf = ELFFile(file)
        needed = {t.needed for t in elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")}
        assert "libm.so.6" in needed
        glibc = {
            tuple(map(int, version.name.removeprefix("GLIBC_").split(".")))
            for _, versions in elf.get_section_by_name(".gnu.version_r").iter_versions()
            for version in versions
        }
        assert max(glibc) <= (2, 28)
        if name == "rpi4":  # Raspberry Pi OS for the Pi 5 has pages of 16 KiB
            aligned = [s["p_align"] for s in elf.iter_segments() if s["p_type"] == "PT_LOAD"]
            assert min(aligned) >= 16384
        assert elf.get_section_by_name(".dynsym").get_symbol_by_name("__tvm_ffi_plus_one")


@pytest.mark.parametrize(
    "triple",
    ["x86_64-linux-musl", "aarch64-linux-musl", "arm-linux-musleabihf", "riscv64-linux-musl"],
)
def test_zig_links_for_musl(triple: str, no_compilers: Path, tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason=NO_ZIG)
    # Debian's has no headers of the kernel's; a clang would take this system's C library.
    program(no_compilers, f"{triple}-gcc", "echo linux/futex.h: No such file >&2; exit 1")
    program(no_compilers, "clang", "exit 0")
    spec = parse(triple)
    linker = find_linker(spec)
    assert linker.command[-1] == triple
    path = tmp_path / "one.so"
    build(spec).export_library(str(path), fcompile=linker.fcompile)
    with path.open("rb") as file:
        elf = ELFFile(file)
        tags = elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")
        assert [tag.needed for tag in tags] == ["libc.so"]
        assert elf.get_section_by_name(".gnu.version_r") is None


def test_a_musl_compiler_goes_before_zig(no_compilers: Path) -> None:
    working = 'while [ "$1" != -o ]; do shift; done; : > "$2"'
    gcc = program(no_compilers, "x86_64-linux-musl-gcc", working)
    assert find_linker(parse("x86_64-linux-musl")) == Linker(gcc.name, (str(gcc),), "x86_64")


def test_only_objects_that_use_it_get_zigs_compiler_runtime(tmp_path: Path) -> None:
    plain, wide = tmp_path / "plain.o", tmp_path / "wide.o"
    build(PRESETS["rpi2"]).write_to_file(str(plain))
    import tvm
    from tvm import te

    a = te.placeholder((8,), "int64", name="a")
    b = te.compute((8,), lambda i: te.floordiv(a[i], a[7 - i]), name="b")
    # 64-bit division is __aeabi_ldivmod on 32-bit ARM.
    target = tvm.target.Target(PRESETS["rpi2"].tvm_dict())
    tvm.build(te.create_prim_func([a, b]), target=target).write_to_file(str(wide))
    assert not uses_compiler_runtime(str(plain))
    assert uses_compiler_runtime(str(wide))
    (tmp_path / "c.c").write_text("int x;")
    assert uses_compiler_runtime(str(tmp_path / "c.c"))


def test_object_of_another_machine_is_refused_in_the_linkers_words(tmp_path: Path) -> None:
    spec = parse("native")
    other = PRESETS["rpi4" if spec.machine == "x86_64" else "x86-64"]
    path = tmp_path / "other.o"
    build(other).write_to_file(str(path))
    with pytest.raises(ToolchainError, match="linking failed") as caught:
        find_linker(spec).link([path], tmp_path / "one.so")
    assert "other.o" in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


def test_failed_link_leaves_the_old_file(tmp_path: Path) -> None:
    output = tmp_path / "one.so"
    output.write_bytes(b"old")
    with pytest.raises(ToolchainError):
        find_linker(parse("native")).link([tmp_path / "missing.o"], output)
    assert output.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [output]


def test_output_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "one.o"
    build(parse("native")).write_to_file(str(path))
    linker = find_linker(parse("native"))
    with pytest.raises(OutputError, match="nowhere"):
        linker.link([path], tmp_path / "nowhere" / "one.so")
    (tmp_path / "folder.so").mkdir()
    with pytest.raises(OutputError, match=r"folder\.so"):
        linker.link([path], tmp_path / "folder.so")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_in_a_folder_that_takes_no_files(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    with pytest.raises(OutputError, match="locked"):
        find_linker(parse("native")).link([], locked / "one.so")


@pytest.mark.usefixtures("no_compilers")
def test_nothing_to_link_with_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ziglang", None)
    with pytest.raises(ToolchainError, match=r"no C compiler[^\n]*\n.*\[cross\]"):
        find_linker(parse("native"))
    for name, package in (
        ("rpi4", "gcc-aarch64-linux-gnu"),
        ("rpi2", "gcc-arm-linux-gnueabihf"),
        ("riscv64", "gcc-riscv64-linux-gnu"),
    ):
        if PRESETS[name].machine == host_machine():
            continue
        with pytest.raises(ToolchainError, match=rf"{package}.*tvm-mobilenet\[cross\]"):
            find_linker(PRESETS[name])
    with pytest.raises(ToolchainError, match=r"for x86_64-linux-musl\n.*tvm-mobilenet\[cross\]"):
        find_linker(parse("x86_64-linux-musl"))


@pytest.mark.usefixtures("no_compilers")
def test_native_falls_back_to_zig() -> None:
    pytest.importorskip("ziglang", reason=NO_ZIG)
    assert find_linker(parse("native")).name == "zig"


def test_cc_is_heard(no_compilers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = program(no_compilers, "my-cc", "exit 0")
    monkeypatch.setenv("CC", "my-cc --quiet")
    assert find_linker(parse("native")).command == (str(chosen), "--quiet")
    monkeypatch.setenv("CC", "no-such-cc")
    with pytest.raises(ToolchainError, match=r"\$CC names 'no-such-cc'"):
        find_linker(parse("native"))


@pytest.mark.skipif(host_machine() == "aarch64", reason="aarch64 is no cross target here")
def test_cross_compiler_goes_before_clang_and_zig(no_compilers: Path) -> None:
    working = 'while [ "$1" != -o ]; do shift; done; : > "$2"'
    program(no_compilers, "clang", working)
    assert find_linker(PRESETS["rpi4"]).name == "clang"
    program(no_compilers, "clang", "echo no sysroot >&2; exit 1")
    pytest.importorskip("ziglang", reason=NO_ZIG)
    assert find_linker(PRESETS["rpi4"]).name == "zig"
    # Debian's cross gcc without libc6-dev-arm64-cross, which apt only recommends.
    program(no_compilers, "aarch64-linux-gnu-gcc", "echo cannot find crti.o >&2; exit 1")
    assert find_linker(PRESETS["rpi4"]).name == "zig"
    gcc = program(no_compilers, "aarch64-linux-gnu-gcc", working)
    assert find_linker(PRESETS["rpi4"]) == Linker(gcc.name, (str(gcc),), "aarch64")


def test_linkers_words_reach_the_user(no_compilers: Path, tmp_path: Path) -> None:
    cc = program(no_compilers, "cc", "echo 'ld: cannot find crti.o' >&2; exit 3")
    with pytest.raises(ToolchainError, match=r"crti\.o") as caught:
        Linker("cc", (str(cc),), host_machine()).link([], tmp_path / "one.so")
    assert "status 3" in caught.value.what
    with pytest.raises(ToolchainError, match="cannot run"):
        Linker("cc", ("/no/such/cc",), host_machine()).link([], tmp_path / "one.so")


def test_zig_without_a_home_to_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file where the cache folder should be stands for a home that takes no files."""
    pytest.importorskip("ziglang", reason=NO_ZIG)
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ZIG_GLOBAL_CACHE_DIR", raising=False)
    path, output = tmp_path / "one.o", tmp_path / "one.so"
    build(PRESETS["rpi4"]).write_to_file(str(path))
    command = (sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.28")
    Linker("zig", command, "aarch64").link([path], output)
    assert header(output) == ("EM_AARCH64", "ET_DYN")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "one.o", "one.so"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    path, output = tmp_path / "one.o", tmp_path / "one.so"
    build(parse("native")).write_to_file(str(path))
    code = (
        "import os, sys; os.umask(0o022)\n"
        "from tvm_mobilenet.machine import parse\n"
        "from tvm_mobilenet.artifact.toolchain import find_linker\n"
        "find_linker(parse('native')).link([sys.argv[1]], sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, str(path), str(output)], check=True)
    assert output.stat().st_mode & 0o777 == 0o755
