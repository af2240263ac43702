"""The whole road of CUDA without a GPU: TVM's CUDA runtime on a driver that is none.

``fake_driver`` stands for libcuda and libcudart; kernels are the artifact's own source,
compiled for the processor by ``cuda_on_cpu``. A network is loaded in a process of its own,
because the system's loader reads its search path once.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cuda_on_cpu import kernels_on_cpu
from numpy.typing import NDArray
from parts import nvcc

import tvm_mobilenet as tm
from tvm_mobilenet.artifact.toolchain_cuda import Cubin, Nvcc
from tvm_mobilenet.compilation.compiled import Compiled
from tvm_mobilenet.machine import Dtype
from tvm_mobilenet.models.importer import Imported
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.runtime.instrument import Trace

DRIVER = Path(__file__).parent / "fake_driver" / "fake_cuda.c"
# One file is both libraries: TVM's asks for the runtime's symbols by this version.
_VERSION = "libcudart.so.13 { global: *; };"
_RUN = """
import sys
import numpy as np
import tvm_mobilenet.runtime as runtime
module = runtime.load(sys.argv[1])
x = np.load(sys.argv[2])
outputs = [module(x * scale) for scale in (1, 2, 1)]
traces = {f"trace{i}": trace.output for i, trace in enumerate(module.trace(x))}
assert "tvm" not in sys.modules
np.savez(sys.argv[3], *outputs, **traces)
"""


@dataclass(frozen=True)
class Ran:
    """What a network did: its outputs for x, 2x and x, kernel by kernel for x, and the log."""

    manifest: dict[str, object]
    outputs: list[NDArray[np.float32]]
    traces: list[Trace]
    log: list[str]

    def __call__(self, _: object) -> NDArray[np.float32]:
        """Return the output of a captured graph: as a module, for `verify`."""
        return self.outputs[2]

    def trace(self, _: object) -> list[Trace]:
        """Return the outputs of the kernels."""
        return self.traces

    def counts(self) -> Counter[str]:
        """Count the events by their first word."""
        return Counter(line.split()[0] for line in self.log)


@functools.cache
def fake_driver() -> Path:
    """Compile the driver that is none; return its folder."""
    folder = Path(tempfile.mkdtemp(prefix="fake-cuda-"))
    script = folder / "versions"
    script.write_text(_VERSION)
    flags = ["-shared", "-fPIC", "-O1", "-w", "-Wl,-soname,libcuda.so.1"]
    flags += [f"-Wl,--version-script={script}", "-o", str(folder / "libcuda.so.1")]
    subprocess.run(["cc", *flags, str(DRIVER), "-ldl"], check=True)
    (folder / "libcudart.so.13").symlink_to("libcuda.so.1")
    return folder


def compiled_for_cuda(
    model: Model | Imported, target: str, dtype: Dtype = "float32", **options: object
) -> tuple[Compiled, str]:
    """Compile a network; return it and its kernels' source."""
    found = nvcc()
    sources = []

    class Listening(Nvcc):
        def cubin(self, source: str, arch: str) -> Cubin:
            sources.append(source)
            return found.cubin(source, arch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "tvm_mobilenet.compilation.compile.find_nvcc",
            lambda: Listening(found.program, found.origin),
        )
        compiled = tm.compile(model, target=target, dtype=dtype, verify=False, **options)
    (source,) = sources
    return compiled, source


def in_a_process(script: str, *arguments: str | Path, **settings: str) -> tuple[int, str]:
    """Run Python where the driver that is none is found; return status and words."""
    environment = dict(os.environ, LD_LIBRARY_PATH=str(fake_driver()), **settings)
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def run_network(compiled: Compiled, source: str, x: NDArray[np.float32], folder: Path) -> Ran:
    """Load a network and call it, its kernels on the processor."""
    np.save(folder / "x.npy", x)
    log, found = folder / "log", folder / "found.npz"
    status, words = in_a_process(
        _RUN,
        compiled.path,
        folder / "x.npy",
        found,
        FAKE_CUDA_KERNELS=str(kernels_on_cpu(source)),
        FAKE_CUDA_LOG=str(log),
        FAKE_CUDA_ARCH=str(compiled.manifest["target"]["gpu"]["arch"]).removeprefix("sm_"),
    )
    assert status == 0, words
    with np.load(found) as arrays:
        outputs = [arrays[f"arr_{i}"] for i in range(3)]
        traces = [
            Trace(call, arrays[f"trace{i}"]) for i, call in enumerate(compiled.manifest["calls"])
        ]
    return Ran(dict(compiled.manifest), outputs, traces, log.read_text().splitlines())


def error_of(words: str) -> Mapping[str, str]:
    """Return the name and the message of the exception that ended a process."""
    last = [line for line in words.splitlines() if line.startswith("tvm_mobilenet.errors.")][-1]
    name, _, message = last.removeprefix("tvm_mobilenet.errors.").partition(": ")
    return {"name": name, "message": message}
