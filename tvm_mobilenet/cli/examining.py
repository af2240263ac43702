"""What ``doctor`` looks at: each check says what it finds, and what gets what it misses.

What may take the process with it (TVM's libraries, drivers) runs in a process of its own.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tvm_mobilenet.cli.output import size
from tvm_mobilenet.common.distributions import MEND, SMALL, both_installed
from tvm_mobilenet.errors import TvmMobilenetError

_LIMIT_S = 300.0
"""For the small network, which takes 5 s on an idle machine."""
_CALL = """
import tempfile, time
start = time.perf_counter()
import tvm_mobilenet as tm
from tvm_mobilenet.verify.artifact import sample_input
with tempfile.TemporaryDirectory() as folder:
    made = tm.compile(tm.mobilenet_v1(alpha=0.25, resolution=32, classes=10))
    module = tm.load(made.export(folder + "/small.so"))
    assert module(sample_input((1, 3, 32, 32))).shape == (1, 10)
print(f"a small network, compiled, verified and called in {time.perf_counter() - start:.1f} s")
"""
_GPU = """
from tvm_mobilenet.machine.driver import find_gpu
gpu = find_gpu()
print(f"{gpu.name}, {gpu.arch}, {gpu.memory_bytes / 1e9:.0f} GB")
"""
_OPENCL = """
from tvm_mobilenet.runtime.opencl_device import devices
print("; ".join(f"{d.name.strip()} ({d.platform.name.strip()})" for d in devices()))
"""
# Errors of ours come back in two lines, others as Python's own last one.
_CHILD = """
import sys
from tvm_mobilenet.errors import TvmMobilenetError
try:
    exec(sys.argv[1])
except TvmMobilenetError as error:
    print(error.what.replace("\\n", " "), error.remedy.replace("\\n", " "), sep="\\n")
    sys.exit(2)
"""
_REINSTALL = {
    "relax": "pip install --force-reinstall apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1",
    "relay": "make relay",
}
_EXTRAS = {
    "bench": "other runtimes to compare with",
    "cross": "linking for other machines",
    "cuda": "compiling for NVIDIA GPUs",
    "device": "trackers of boards",
    "hub": "weights from Hugging Face",
    "opencl": "running on OpenCL",
    "plot": "figures",
    "pretrained": "trained weights, names of classes",
    "tune": "the tuner's cost model",
}
"""What people install extras for; the others are for this project's own work."""
_FEATURES = (
    *("avx2", "fma", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_int8", "amx_bf16", "neon", "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve"),
)
"""Those that decide how fast a network can be, as /proc/cpuinfo calls them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line.

    Attributes
    ----------
    name : str
        What was looked for.
    found : str
        What there is, or why nothing.
    ok : bool
        Whether it is there and works.
    get : str
        How to get it, where it is missing.
    """

    name: str
    found: str
    ok: bool = True
    get: str = ""


def _in_child(code: str, limit_s: float = 60.0) -> tuple[bool, str, str]:
    """Run Python elsewhere; return whether it ended well, what it said, and the remedy."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, code],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"no answer in {limit_s:.0f} s", ""
    said = done.stdout.strip().splitlines() or [""]
    if done.returncode == 0:
        return True, said[-1], ""
    if done.returncode == TvmMobilenetError.exit_status:
        what, remedy = (*said, "")[:2]
        return False, what, remedy
    words = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
    ended = f" (signal {-done.returncode})" if done.returncode < 0 else ""
    return False, words[-1] + ended, ""


def _works() -> Iterator[Finding]:
    from tvm_mobilenet.compilation.stack import this_stack

    ok, said, remedy = _in_child(_CALL, _LIMIT_S)
    yield Finding("works", said, ok, "" if ok else remedy or _REINSTALL[this_stack().name])


def _python() -> Iterator[Finding]:
    yield Finding("Python", f"{platform.python_version()}, {sys.executable}")


def _versions() -> Iterator[Finding]:
    from tvm_mobilenet import __version__
    from tvm_mobilenet.cli.stack import find_environment
    from tvm_mobilenet.compilation.stack import this_stack

    yield Finding("tvm-mobilenet", f"{__version__}, {Path(__file__).parents[1]}")
    if both_installed():
        yield Finding(SMALL, "installed too, and has the same files", False, MEND)
    stack = this_stack()
    found = stack.versions()
    lacks = [package for package in stack.packages if package not in found]
    named = [f"{package} {version}" for package, version in found.items()]
    named += [f"{package} is not installed" for package in lacks]
    get = _REINSTALL[stack.name] if lacks else ""
    yield Finding("TVM", f"{', '.join(named)}; stack {stack.name}", not lacks, get)
    if stack.name == "relax":
        try:
            yield Finding("stack relay", str(find_environment().parents[1]))
        except TvmMobilenetError as error:
            yield Finding("stack relay", "no environment", False, error.remedy)


def _processor() -> Iterator[Finding]:
    from tvm_mobilenet.machine.host import host_cpu_features, processor_name
    from tvm_mobilenet.machine.this_machine import host
    from tvm_mobilenet.runtime.threads import thread_count

    spec = host()
    facts = spec.describe()
    yield Finding("processor", f"{processor_name()}: {spec.triple}, {facts['cpu']}, {facts['isa']}")
    notable = [name for name in _FEATURES if name in host_cpu_features()]
    yield Finding("features", " ".join(notable) or "none beyond the architecture's")
    allowed, all_of_them = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    told = [
        f"{name}={os.environ[name]}"
        for name in ("TVM_NUM_THREADS", "OMP_NUM_THREADS")
        if os.environ.get(name)
    ]
    text = f"{thread_count(None)} a call; {allowed} of {all_of_them} processors are usable"
    yield Finding("threads", "; ".join([text, *told]))


def _linkers() -> Iterator[Finding]:
    from tvm_mobilenet.artifact.toolchain import find_linker
    from tvm_mobilenet.machine import PRESETS
    from tvm_mobilenet.machine.this_machine import host

    for title, spec in (
        ("C compiler", host()),
        ("for aarch64", PRESETS["rpi4"]),
        ("for armv7", PRESETS["rpi2"]),
    ):
        try:
            linker = find_linker(spec)
            # zig through Python: the arguments, too, say what it is.
            yield Finding(title, f"{linker.name}: {' '.join(linker.command[:4])}")
        except TvmMobilenetError as error:
            yield Finding(title, error.what, False, error.remedy)


def _nvcc() -> Iterator[Finding]:
    from tvm_mobilenet.artifact.toolchain_cuda import find_nvcc

    try:
        found = find_nvcc()
    except TvmMobilenetError:
        yield Finding("nvcc", "none", False, "pip install 'tvm-mobilenet[cuda]'")
        return
    host = shutil.which("g++") or shutil.which("clang++")
    text = f"{found.program} (by {found.origin})"
    if host is None:
        yield Finding("nvcc", f"{text}, without a host compiler", False, "apt install g++")
    else:
        yield Finding("nvcc", text)


def _gpus() -> Iterator[Finding]:
    ok, said, remedy = _in_child(_GPU)
    # A machine without one lacks nothing that a command could bring.
    remedy = "" if "cannot be loaded" in said else remedy
    yield Finding("NVIDIA GPU", said if ok else said.partition(":")[0], ok, remedy)
    ok, said, remedy = _in_child(_OPENCL)
    yield Finding("OpenCL", said, ok, remedy)


def _extras() -> Iterator[Finding]:
    wanted = extras_of(metadata.requires("tvm-mobilenet") or [])
    there, lacking = [], []
    for extra, purpose in _EXTRAS.items():
        lacks = [package for package in wanted.get(extra, []) if not _is_installed(package)]
        if lacks:
            lacking.append((extra, f"{extra} ({purpose})"))
        else:
            there.append(extra)
    yield Finding("extras", ", ".join(there) or "none")
    if lacking:
        names = ",".join(extra for extra, _ in lacking)
        yield Finding(
            "no extras",
            ", ".join(text for _, text in lacking),
            False,
            f"pip install 'tvm-mobilenet[{names}]'",
        )


def extras_of(requirements: list[str]) -> dict[str, list[str]]:
    """Return the packages of each extra, from the requirements in a package's metadata."""
    found: dict[str, list[str]] = {}
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement)
        for extra in re.findall(r"""extra\s*==\s*['"]([\w-]+)['"]""", requirement):
            if name:
                found.setdefault(extra, []).append(name[0])
    return found


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _caches() -> Iterator[Finding]:
    from tvm_mobilenet.models.checkpoints.pretrained import cache_folder

    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    hub = os.environ.get("HF_HUB_CACHE") or Path(
        os.environ.get("HF_HOME") or caches / "huggingface", "hub"
    )
    zig = os.environ.get("ZIG_GLOBAL_CACHE_DIR") or caches / "zig"
    for title, folder in (
        ("trained weights", cache_folder()),
        ("Hugging Face", Path(hub)),
        ("zig's cache", Path(zig)),
    ):
        yield Finding(title, f"{folder}, {_size_of(folder)}")


def _size_of(folder: Path) -> str:
    if not folder.is_dir():
        return "not there yet"
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            total += os.lstat(os.path.join(place, name)).st_size
    return size(total)


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _works,
    _python,
    _versions,
    _processor,
    _linkers,
    _nvcc,
    _gpus,
    _extras,
    _caches,
)
"""In the order of the screen; the first decides the exit status."""
