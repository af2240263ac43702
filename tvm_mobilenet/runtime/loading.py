"""From a file to a callable: its kind of container has the loader."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tvm_mobilenet.artifact.containers import CONTAINERS, container_of
from tvm_mobilenet.common.lazily import part
from tvm_mobilenet.errors import AbiError
from tvm_mobilenet.runtime.artifact import manifest_in
from tvm_mobilenet.runtime.checks import needs_tvm
from tvm_mobilenet.runtime.loaded import Device, Loaded
from tvm_mobilenet.runtime.private import private_copy
from tvm_mobilenet.runtime.threads import thread_count

C = "c"
"""The loader for what has a C interface, whatever else it has."""
LOADERS = {
    C: ("module", "Module"),
    "vm": ("vm", "VmModule"),
    "cuda": ("cuda", "CudaModule"),
    "graph": ("classic", "ClassicModule"),
    "launches": ("opencl", "OpenClModule"),
}
"""Module of this package and class, by the kind of container: imported when it is wanted."""


def load(path: str | os.PathLike[str], threads: int | None = None, device: Device = None) -> Loaded:
    """Check an artifact and load it.

    What is loaded is a copy in memory: the file may be written anew, changed or deleted, and a
    later call of this function loads what is there then. Modules of the same content share it, and
    what no module holds any more is unloaded.

    Parameters
    ----------
    path : path-like
        The shared object that ``compile`` wrote.
    threads : int, optional
        Threads for one call. Otherwise ``TVM_NUM_THREADS``, ``OMP_NUM_THREADS``,
        or the physical cores that this process may use, by its affinity and its container.
    device : str or int, optional
        Which GPU runs an artifact for one: its number, or a part of its name; the first
        without, or among OpenCL devices what ``TVM_MOBILENET_OPENCL`` says.

    Returns
    -------
    Module, VmModule, OpenClModule, CudaModule or ClassicModule
        Ready to be called. Nothing of TVM is loaded for a ``Module``, which is what an artifact for
        a processor is; its runtime library alone for a file from before there was a C interface.

    Raises
    ------
    NotAnArtifactError, TruncatedArtifactError, ArchitectureError, CpuFeatureError, AbiError
        The file is not for here; nothing in it was executed.
    NoGpuError, GpuArchitectureError, GpuMemoryError, GpuDriverError
        There is no GPU for it, or not one that can run it.
    ArtifactError
        The system refused to load it, or has no memory for it.
    RuntimeLibraryError
        The runtime that the file needs is not installed.
    InputError
        `threads` or the environment variable is no positive number; a `device` for a file
        that runs on the processor.
    """
    path = os.path.abspath(path)
    count = thread_count(threads)
    with private_copy(Path(path)) as copy:
        manifest = manifest_in(copy.file, Path(path))
        check_here(manifest, path, device)
        return _loader(manifest, path).open(path, manifest, copy, count, device)


def check_here(
    manifest: Mapping[str, Any], where: str = "the artifact", device: Device = None
) -> None:
    """Refuse an artifact that this machine or this installation cannot run.

    Parameters
    ----------
    manifest : mapping
        The artifact's.
    where : str
        What messages call it.
    device : str or int, optional
        As for :func:`load`.

    Raises
    ------
    ArchitectureError
        Another architecture or operating system.
    CpuFeatureError
        Instructions that this processor lacks, by name.
    AbiError
        Another TVM than the one installed, or a kind of container of a later version.
    RuntimeLibraryError
        No TVM installed.
    NoGpuError, GpuArchitectureError, GpuDriverError, GpuMemoryError
        No GPU that can run it.
    InputError
        A `device` for what runs on the processor.
    """
    _loader(manifest, where).check(manifest, where, device)


def _loader(manifest: Mapping[str, Any], where: str) -> type[Loaded]:
    container = container_of(manifest)
    if container is None:
        kind = manifest.get("container", manifest["stack"])
        raise AbiError(
            f"{where} is of the kind {kind!r}, which is unknown here",
            f"known: {', '.join(CONTAINERS)}; load it with the version that compiled it",
        )
    home, name = LOADERS[container.kind if needs_tvm(manifest) else C]
    what = f"what runs {where}, of the kind {container.kind!r},"
    loader: type[Loaded] = part(f"{__package__}.{home}", name, what)
    return loader
