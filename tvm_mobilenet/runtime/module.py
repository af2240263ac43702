"""A compiled artifact as a Python callable.

Every Python thread gets a virtual machine of its own over the same weights: it
holds a program counter and registers, so calls through one machine would have
to wait for each other, while a second machine costs a few kilobytes and the
activations. Calls release Python's global lock.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tvm_mobilenet.errors import InputError
from tvm_mobilenet.runtime.artifact import check_here, is_cuda, manifest_in
from tvm_mobilenet.runtime.inputs import Staging
from tvm_mobilenet.runtime.instrument import observe, output_of
from tvm_mobilenet.runtime.kernels import Kernels, library_of
from tvm_mobilenet.runtime.library import Code, load_runtime, loader_of, open_library
from tvm_mobilenet.runtime.loaded import LoadedArtifact, Visit
from tvm_mobilenet.runtime.private import private_copy
from tvm_mobilenet.runtime.threads import call_elsewhere, thread_count, use_threads
from tvm_mobilenet.sources import LAUNCHES

if TYPE_CHECKING:
    from tvm_mobilenet.runtime.classic import ClassicModule
    from tvm_mobilenet.runtime.cuda import CudaModule
    from tvm_mobilenet.runtime.opencl import OpenClModule

# Arguments of vm_initialization: DLPack's kDLCPU, device 0, and TVM's pooled allocator, which
# keeps the activations between calls (tvm/runtime/vm.py).
_CPU, _POOLED = 1, 2


class _Binding(threading.local):
    """What one thread needs for a call."""

    main: Callable[[Any], Any] | None = None
    staging: Staging


class Module(LoadedArtifact[Kernels]):
    """A loaded artifact whose kernels run on the processor.

    The input is read in place if it is C-contiguous and aligned as :attr:`inputs` states (a
    MobileNet's first convolution takes any address of a float32), else copied first.
    """

    def __init__(
        self, path: str, manifest: dict[str, Any], code: Code, ffi: ModuleType, threads: int
    ) -> None:
        super().__init__(path, manifest, threads)
        self._ffi = ffi
        # In this order, in which they go: machines hold the code too.
        self._binding = _Binding()
        self._code = code
        self._several = len(manifest["outputs"]) > 1

    def _call(self, x: Any) -> Any:
        binding = self._binding
        main = binding.main
        if main is None:
            found = call_elsewhere(self.threads, self._call, x)
            if found is not None:
                return found
            main = self._bind()
        # A no-op unless another module of this thread asked for another number.
        use_threads(self._ffi, self.threads)
        found = main(binding.staging.tensor(x))
        return tuple(map(np.from_dlpack, found)) if self._several else np.from_dlpack(found)

    def _visit(self, x: Any, visit: Visit) -> None:
        self._observe(x, lambda call, args: visit(call, np.from_dlpack(output_of(args))))

    def _held(self, x: Any) -> Kernels:
        calls: list[tuple[str, tuple[Any, ...]]] = []
        self._observe(x, lambda call, arguments: calls.append((call["kernel"], arguments)))
        library = library_of(self._code.module, calls)
        return Kernels(self._code, library, self._ffi, calls, self.threads)

    def _bind(self) -> Callable[[Any], Any]:
        use_threads(self._ffi, self.threads)
        self._binding.staging = Staging(self._input, self._ffi)
        main: Callable[[Any], Any] = self._machine()["main"]
        self._binding.main = main
        return main

    def _machine(self) -> Any:
        machine = self._code.module["vm_load_executable"]()
        machine["vm_initialization"](_CPU, 0, _POOLED)
        return machine

    def _observe(self, x: Any, after: Callable[[dict[str, Any], tuple[Any, ...]], None]) -> None:
        use_threads(self._ffi, self.threads)
        tensor = Staging(self._input, self._ffi).tensor(x)
        observe(self._machine(), self._ffi, (tensor,), self.manifest["calls"], after)


def load(
    path: str | os.PathLike[str], threads: int | None = None, device: str | int | None = None
) -> Module | OpenClModule | CudaModule | ClassicModule:
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
        Of an artifact for a GPU, which one runs it: its number, or a part of its name;
        the first without, or of OpenCL devices what ``TVM_MOBILENET_OPENCL`` says.

    Returns
    -------
    Module, OpenClModule, CudaModule or ClassicModule
        Ready to be called. TVM's compiler is not loaded, nor is ``tvm`` imported.

    Raises
    ------
    NotAnArtifactError, TruncatedArtifactError, ArchitectureError, CpuFeatureError, AbiError
        The file is not for here; nothing in it was executed.
    NoGpuError, GpuArchitectureError, GpuMemoryError, GpuDriverError
        There is no GPU for it, or not one that can run it.
    ArtifactError
        The system refused to load it, or has no memory for it.
    RuntimeLibraryError
        TVM's runtime library is not installed.
    InputError
        `threads` or the environment variable is no positive number; a `device` for a file
        that runs on the processor.
    """
    path = os.path.abspath(path)
    count = thread_count(threads)
    with private_copy(Path(path)) as copy:
        manifest = manifest_in(copy.file, Path(path))
        if manifest["stack"] == LAUNCHES:
            from tvm_mobilenet.runtime.opencl import load_opencl

            return load_opencl(path, manifest, copy, device)
        check_here(manifest, path)
        if device is not None and not is_cuda(manifest):
            raise InputError(
                f"{path} runs on the processor, and has no device {device!r} to choose",
                "leave device out; a board is tvm_mobilenet.open_device's, a GPU is compiled for",
            )
        if manifest["stack"] == "relay":
            from tvm_mobilenet.runtime.classic import load_classic

            return load_classic(path, manifest, copy, count)
        ffi = load_runtime()
        if is_cuda(manifest):
            from tvm_mobilenet.runtime.cuda import load_cuda

            return load_cuda(path, manifest, copy, ffi, threads=count, device=device)
        code = open_library(path, manifest["sha256"], copy, loader_of(ffi))
        return Module(path, manifest, code, ffi, count)
