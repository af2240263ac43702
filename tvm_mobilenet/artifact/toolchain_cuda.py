"""Find NVIDIA's compiler, and compile CUDA source with it for one architecture.

Only nvcc: pip brings it (105 MB) on every machine that compiles, so a second road through
NVRTC (90 MB) would add no machine, and its own report to keep in step.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tvm_mobilenet.artifact.resources import Resources, read_report
from tvm_mobilenet.artifact.tools import run_tool
from tvm_mobilenet.common.scratch import scratch
from tvm_mobilenet.errors import ToolchainError

_PIP = "pip install 'tvm-mobilenet[cuda]'"
_SYSTEM = Path("/usr/local/cuda")
_REMEDY = "the lines above are its own; without a host compiler: apt install g++"
# No --use_fast_math: what it saves is in divisions and exponentials, of which a MobileNet has
# next to none, and it would cost the error bounds that verification holds kernels to.
_OPTIONS = ("-O3", "-std=c++17", "-Xptxas", "-v")


@dataclass(frozen=True, slots=True)
class Cubin:
    """Machine code of one architecture.

    Attributes
    ----------
    code : bytes
        ELF for the GPU.
    arch : str
        Such as ``"sm_90"``.
    resources : dict of str to Resources
        What each kernel takes, by its name.
    """

    code: bytes
    arch: str
    resources: dict[str, Resources]


@dataclass(frozen=True, slots=True)
class Nvcc:
    """NVIDIA's compiler.

    Attributes
    ----------
    program : str
        Its path.
    origin : {"CUDA_HOME", "PATH", "pip", "system"}
        Where it was found.
    """

    program: str
    origin: str

    def cubin(self, source: str, arch: str) -> Cubin:
        """Compile for one architecture.

        Parameters
        ----------
        source : str
            CUDA C++; kernels are ``extern "C"``.
        arch : str
            Such as ``"sm_90"``.

        Raises
        ------
        ToolchainError
            nvcc failed, does not know `arch`, or lacks its host compiler; its own words
            are in the message.
        """
        with scratch() as folder:
            text, made = Path(folder) / "kernels.cu", Path(folder) / "kernels.cubin"
            text.write_text(source)
            command = [self.program, "-cubin", f"-arch={arch}", *_OPTIONS]
            said = run_tool([*command, "-o", str(made), str(text)], "nvcc", _REMEDY)
            return Cubin(made.read_bytes(), arch, read_report(said))


def find_nvcc() -> Nvcc:
    """Find nvcc: under ``$CUDA_HOME``, in PATH, in pip's packages, in ``/usr/local/cuda``.

    Raises
    ------
    ToolchainError
        There is none; the message says what to install.
    """
    if home := os.environ.get("CUDA_HOME"):
        program = Path(home) / "bin" / "nvcc"
        if not os.access(program, os.X_OK):
            raise ToolchainError(
                f"no CUDA compiler: $CUDA_HOME is {home}, which has no bin/nvcc",
                "correct CUDA_HOME or unset it",
            )
        return Nvcc(str(program), "CUDA_HOME")
    if found := shutil.which("nvcc"):
        return Nvcc(found, "PATH")
    for root, origin in (*((p, "pip") for p in cuda_packages()), (_SYSTEM, "system")):
        if os.access(root / "bin" / "nvcc", os.X_OK):
            return Nvcc(str(root / "bin" / "nvcc"), origin)
    raise ToolchainError(
        f"no CUDA compiler: there is no nvcc in $CUDA_HOME, PATH, pip's packages or {_SYSTEM}",
        f"install it with {_PIP}; it needs a host compiler too (Debian: apt install g++)",
    )


def cuda_packages() -> Iterator[Path]:
    """Yield the folders of pip's CUDA, ``site-packages/nvidia/cu13``, newest first."""
    try:
        spec = importlib.util.find_spec("nvidia")
    except ValueError:  # what find_spec makes of a half-initialised module
        spec = None
    for place in (spec and spec.submodule_search_locations) or ():
        yield from sorted(Path(place).glob("cu[0-9][0-9]"), reverse=True)
