"""Networks for RISC-V and for musl, linked by zig: a C program under QEMU, or in a bare root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from parts import BOARD, NO_BOARD

import tvm_mobilenet as tm
from tvm_mobilenet.artifact.native_header import NATIVE
from tvm_mobilenet.errors import ArchitectureError, TargetError
from tvm_mobilenet.machine import host_machine

pytest.importorskip("ziglang", reason="no ziglang: pip install ziglang")

PROGRAM = Path(__file__).with_name("program.c")
WAYS = ((1, "own"), (3, "given"), (4, "parts"))
RISCV = Path("/usr/riscv64-linux-gnu")
GLIBC = ("riscv64-linux-gnu.2.28", "-Wl,-rpath,$ORIGIN")


def model() -> Any:
    return tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10)


@pytest.fixture(scope="module")
def expected() -> tuple[Any, Any]:
    """An image, and what this machine makes of it; another's may differ in the last bits."""
    x = np.random.default_rng(1).standard_normal((1, 3, 32, 32)).astype(np.float32)
    return x, tm.compile(model(), seed=3, verify=False).module(x)


def made(folder: Path, target: str, triple: str, *options: str) -> tm.Compiled:
    """Compile the network, and beside it the program that runs it: ``model.so``, ``program``."""
    compiled = tm.compile(model(), target=target, seed=3)
    compiled.export(folder / "model.so")
    command = [sys.executable, "-m", "ziglang", "cc", "-target", triple, *options, f"-I{NATIVE}"]
    files = [str(PROGRAM), "model.so", "-o", "program"]
    subprocess.run([*command, "-O1", *files], check=True, cwd=folder)
    return compiled


def assert_right(command: Sequence[str], folder: Path, expected: tuple[Any, Any]) -> None:
    """Run the program, in its folder, on threads and in memory of every kind."""
    x, y = expected
    x.tofile(folder / "in.bin")
    for threads, how in WAYS:
        arguments = [str(threads), how, "in.bin", "out.bin"]
        subprocess.run([*command, *arguments], check=True, timeout=120, cwd=folder)
        found = np.fromfile(folder / "out.bin", np.float32).reshape(y.shape)
        np.testing.assert_allclose(found, y, rtol=1e-4)


# RISC-V -----------------------------------------------------------------------------------------


def processor(*, vectors: bool) -> list[str]:
    emulator = shutil.which("qemu-riscv64-static")
    if emulator is None or not RISCV.exists():
        pytest.skip("no emulated RISC-V: apt install qemu-user-static libc6-riscv64-cross")
    cpu = "rv64,v=true,vlen=128,vext_spec=v1.0" if vectors else "rv64,v=false"
    return [emulator, "-cpu", cpu, "-L", str(RISCV), "./program"]


def test_risc_v(tmp_path: Path, expected: tuple[Any, Any]) -> None:
    command = processor(vectors=False)
    assert made(tmp_path, "riscv64", *GLIBC).manifest["needs"] == []
    assert_right(command, tmp_path, expected)


def test_risc_v_with_vectors(tmp_path: Path, expected: tuple[Any, Any]) -> None:
    """A processor without them is told so: until it was, it died of an illegal instruction."""
    command = processor(vectors=True)
    assert made(tmp_path, "riscv64 --mattr=+v", *GLIBC).manifest["needs"] == ["v"]
    assert_right(command, tmp_path, expected)
    done = subprocess.run(
        [*processor(vectors=False), "1", "own", "in.bin", "out.bin"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "lacks instructions that the network was compiled to use" in done.stderr


# musl -------------------------------------------------------------------------------------------


def musl_root(folder: Path, machine: str) -> list[str]:
    """Make a root that has musl and no other library; return what runs the program in it."""
    name = f"lib/ld-musl-{machine}.so.1"
    if machine == "aarch64":
        if not BOARD.exists():
            pytest.skip(NO_BOARD)
        libc = BOARD.parent / "root" / name
        shutil.copy(str(shutil.which("qemu-aarch64-static")), folder)
        command = ["/qemu-aarch64-static", "/program"]
    else:
        libc = Path("/", name)
        if machine != host_machine() or not libc.exists():
            pytest.skip("no musl for x86-64: apt install musl")
        (folder / "proc").mkdir()  # which tells of the processor; a whole system has one
        shutil.copy("/proc/cpuinfo", folder / "proc")
        command = ["/program"]
    (folder / "lib").mkdir()
    shutil.copy(libc, folder / "lib")
    chroot = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin")
    changed = [str(chroot), str(folder)]
    if os.geteuid() != 0:
        changed = ["unshare", "--user", "--map-root-user", *changed]
        if subprocess.run([*changed[:3], "true"], capture_output=True, check=False).returncode:
            pytest.skip("this machine lets its users have no root of their own")
    return [*changed, *command]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_musl(machine: str, tmp_path: Path, expected: tuple[Any, Any]) -> None:
    command = musl_root(tmp_path, machine)
    triple = f"{machine}-linux-musl"
    made(tmp_path, triple, triple, "-dynamic", "-Wl,-rpath,/")
    with (tmp_path / "model.so").open("rb") as file:
        tags = ELFFile(file).get_section_by_name(".dynamic").iter_tags("DT_NEEDED")
        assert {tag.needed for tag in tags} <= {"libc.so"}
    assert_right(command, tmp_path, expected)
    with pytest.raises(ArchitectureError, match=r"linked for musl, and the C .* is glibc|is for"):
        tm.load(tmp_path / "model.so")


def test_musl_has_no_runtime_of_tvm() -> None:
    with pytest.raises(TargetError, match="built for glibc alone"):
        tm.compile(model(), target="opencl", host="x86_64-linux-musl", verify=False)
