"""Find something that links for a target, and link with it.

TVM writes object files; the shared object around them takes a linker and the
target's C library. Three places may have them: the system's compiler, a cross
compiler, and the `ziglang` package, which carries both for every target.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tvm_mobilenet.artifact.toolchain_zig import zig_cache, zig_libraries
from tvm_mobilenet.artifact.tools import ANEW, run_tool, written_aside
from tvm_mobilenet.common.scratch import scratch
from tvm_mobilenet.errors import TargetError, ToolchainError
from tvm_mobilenet.machine import TargetSpec, host_machine
from tvm_mobilenet.machine.host import host_libc
from tvm_mobilenet.machine.triples import libc_of, with_libc

_CROSS = {
    "x86_64": ("x86_64-linux-gnu", "gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"),
    "aarch64": ("aarch64-linux-gnu", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"),
    "arm": ("arm-linux-gnueabihf", "gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross"),
    "riscv64": ("riscv64-linux-gnu", "gcc-riscv64-linux-gnu", "libc6-dev-riscv64-cross"),
}
"""Machine to prefix of its tools, and Debian's packages of its compiler and C library."""

_GLIBC = "2.28"
"""What zig links against (Debian 10, RHEL 8): TVM's own wheels ask for it, so no board
that runs them has an older one."""

_PIP = "pip install 'tvm-mobilenet[cross]'"
# expf and its like come from libm, named only if something is used of it.
_LIBRARIES = ("-Wl,--as-needed", "-lm")
_WORDS = "the lines above are the tool's own"


@dataclass(frozen=True, slots=True)
class Linker:
    """A command that turns object files into a shared object, one object, or an archive.

    Attributes
    ----------
    name : str
        ``"cc"``, ``"clang"``, ``"zig"``, or a cross compiler's name.
    command : tuple of str
        Program and the arguments that select the target.
    machine : str
        ELF machine that it links for.
    """

    name: str
    command: tuple[str, ...]
    machine: str

    def describe(self) -> str:
        """Return one line for the compile report."""
        return f"{self.name} for {self.machine}: {shlex.join(self.command)}"

    def link(
        self,
        objects: Sequence[str | os.PathLike[str]],
        output: str | os.PathLike[str],
        options: Sequence[str] = (),
    ) -> None:
        """Link a shared object; `output` appears whole or not at all.

        Parameters
        ----------
        objects : sequence of path
            Object files of the linker's machine.
        output : path
            Shared object to write. One that is there is replaced.
        options : sequence of str
            More of the linker's.

        Raises
        ------
        ToolchainError
            The linker failed; its own words are in the message.
        OutputError
            `output` cannot be written.
        """
        paths = [os.fspath(o) for o in objects]
        libraries = [*_LIBRARIES, *(zig_libraries(paths) if self.name == "zig" else ())]
        with written_aside(Path(output)) as made:
            flags = ["-shared", "-fPIC", *options, "-o", str(made), *paths, *libraries]
            self._run(flags, "linking", made.parent)

    def merge(
        self,
        objects: Sequence[str | os.PathLike[str]],
        output: str | os.PathLike[str],
        options: Sequence[str] = (),
    ) -> None:
        """Make one relocatable object of many, which can be linked into whatever kind of program.

        Parameters and errors are those of :meth:`link`.
        """
        # zig takes -lc for leave to use the C library's headers, and adds nothing of it.
        without = ["-nostdlib", *(["-lc"] if self.name == "zig" else ())]
        with written_aside(Path(output)) as made:
            flags = ["-r", "-fPIC", *without, *options, "-o", str(made)]
            self._run([*flags, *(os.fspath(o) for o in objects)], "linking", made.parent)

    def archive(
        self, objects: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]
    ) -> None:
        """Put objects into a static archive, which is the same bytes each time.

        Parameters
        ----------
        objects : sequence of path
            What it is made of, called by the names of the files.
        output : path
            The ``.a``; one that is there is replaced.

        Raises
        ------
        ToolchainError
            The toolchain's ``ar`` is missing or failed.
        OutputError
            `output` cannot be written.
        """
        if self.name == "zig":
            tool = [*self.command[: self.command.index("cc")], "ar"]
        else:
            asked = [*self.command, "-print-prog-name=ar"]
            tool = [run_tool(asked, "looking for ar", ANEW).strip()]
        with written_aside(Path(output)) as made:
            paths = [os.fspath(o) for o in objects]
            run_tool([*tool, "rcsD", str(made), *paths], "archiving", _WORDS)

    def _run(self, flags: Sequence[str], doing: str, aside: Path) -> None:
        environment = zig_cache(aside) if self.name == "zig" else {}
        run_tool([*self.command, *flags], doing, _WORDS, environment)

    def fcompile(
        self,
        output: str | os.PathLike[str],
        objects: Sequence[str],
        options: Sequence[str] = (),
    ) -> None:
        """Link for ``tvm.runtime.Module.export_library(path, fcompile=linker.fcompile)``."""
        self.link(objects, output, options)


def find_linker(spec: TargetSpec) -> Linker:
    """Find what links for a target.

    For this machine: ``$CC`` if it is set, else ``cc``, ``gcc``, ``clang``. For
    another, or for another C library: the compiler whose name begins with the
    triple (Debian's, musl-cross-make's); for glibc, else a clang that really links
    for it. Where these are missing: the `ziglang` package.

    Parameters
    ----------
    spec : TargetSpec
        Only its machine and C library matter.

    Raises
    ------
    ToolchainError
        There is none; the message says what to install.
    """
    machine = spec.machine
    prefix, package, libraries = _CROSS[machine]
    prefix = with_libc(prefix, spec.libc)
    native = machine == _this_machine() and spec.libc == host_libc()
    found = _native(machine) if native else _cross(machine, prefix)
    if found is not None:
        return found
    if importlib.util.find_spec("ziglang") is not None:
        version = f".{_GLIBC}" if spec.libc == "glibc" else ""
        command = (sys.executable, "-m", "ziglang", "cc", "-target", prefix + version)
        return Linker("zig", command, machine)
    if native:
        raise ToolchainError(
            "no C compiler: linking needs cc, gcc or clang in PATH",
            f"install one (Debian: apt install gcc libc6-dev), or {_PIP}",
        )
    if spec.libc == "musl":
        raise ToolchainError(f"nothing here links for {spec.triple}", _PIP)
    raise ToolchainError(
        f"nothing here links for {spec.triple}",
        f"install the cross compiler and its C library (Debian: apt install {package} "
        f"{libraries}), or {_PIP}",
    )


def _native(machine: str) -> Linker | None:
    if chosen := shlex.split(os.environ.get("CC", "")):
        program = shutil.which(chosen[0])
        if program is None:
            raise ToolchainError(
                f"no C compiler: $CC names {chosen[0]!r}, which is not in PATH",
                "correct CC or unset it",
            )
        return Linker("cc", (program, *chosen[1:]), machine)
    for name in ("cc", "gcc", "clang"):
        if program := shutil.which(name):
            return Linker(name, (program,), machine)
    return None


def _cross(machine: str, prefix: str) -> Linker | None:
    candidates: list[tuple[str, tuple[str, ...]]] = [(f"{prefix}-gcc", ())]
    if libc_of(prefix) == "glibc":  # for musl, a clang takes the C library of the system it is on
        candidates.append(("clang", (f"--target={prefix}",)))
    for name, options in candidates:
        if program := shutil.which(name):
            linker = Linker(name, (program, *options), machine)
            if _links(linker):
                return linker
    return None


def _links(linker: Linker) -> bool:
    """Return whether a compiler has the libraries of its target.

    Few clangs have them, and Debian's cross gcc only recommends the package; its gcc for musl has
    no headers of the kernel's.
    """
    with scratch() as folder:
        source = Path(folder) / "empty.c"
        source.write_text("#include <linux/futex.h>\n#include <pthread.h>\n")
        try:
            linker.link([source], Path(folder) / "empty.so")
        except ToolchainError:
            return False
    return True


def _this_machine() -> str | None:
    try:
        return host_machine()
    except TargetError:
        return None  # not Linux: everything is cross-compiled
