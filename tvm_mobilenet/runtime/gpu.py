"""Whether a GPU of NVIDIA's here runs an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm_mobilenet.errors import GpuArchitectureError, GpuMemoryError
from tvm_mobilenet.machine.driver import Gpu, find_gpu, runs


def check_gpu(manifest: Mapping[str, Any], where: str = "the artifact") -> Gpu:
    """Refuse an artifact whose kernels no GPU here can run.

    Parameters
    ----------
    manifest : mapping
        From an artifact for CUDA.
    where : str
        What messages call it.

    Returns
    -------
    Gpu
        The one that will run it.

    Raises
    ------
    NoGpuError, GpuDriverError
        As from :func:`tvm_mobilenet.machine.driver.find_gpu`.
    GpuArchitectureError
        Machine code of another architecture.
    GpuMemoryError
        More memory than the GPU has.
    """
    gpu = find_gpu()
    arch = str(manifest["target"]["gpu"]["arch"])
    if not runs(arch, gpu):
        raise GpuArchitectureError(
            f"{where} holds machine code for {arch}, and {gpu.name} is {gpu.arch}",
            f"compile it with --target {gpu.arch}",
        )
    needed = int(manifest["gpu"]["memory_bytes"])
    if needed > gpu.memory_bytes:
        raise out_of_memory(where, needed, gpu.memory_bytes, f"{gpu.name} has")
    return gpu


def out_of_memory(where: str, needed: int, there: int, owner: str) -> GpuMemoryError:
    """Return the error for a GPU without room.

    Parameters
    ----------
    where : str
        What the message calls the artifact.
    needed, there : int
        Bytes.
    owner : str
        Whose the bytes are that are there: ``"… has"``, ``"… has free"``.
    """
    return GpuMemoryError(
        f"{where} needs {_mib(needed)} for weights and maps, and {owner} {_mib(there)}",
        "end what else uses the GPU (nvidia-smi), or compile a smaller batch",
    )


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
