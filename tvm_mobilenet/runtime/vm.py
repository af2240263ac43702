"""An artifact as a Python callable, through TVM's virtual machine.

For files from before there was a C interface, and for comparisons.

Every Python thread gets a virtual machine of its own over the same weights: it
holds a program counter and registers, so calls through one machine would have
to wait for each other, while a second machine costs a few kilobytes and the
activations. Calls release Python's global lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from tvm_mobilenet.runtime.inputs import Staging
from tvm_mobilenet.runtime.instrument import observe, output_of
from tvm_mobilenet.runtime.kernels import Kernels, library_of
from tvm_mobilenet.runtime.library import Code, open_library
from tvm_mobilenet.runtime.loaded import Device, LoadedArtifact, Visit
from tvm_mobilenet.runtime.private import PrivateCopy
from tvm_mobilenet.runtime.threads import call_elsewhere, expect_threads, use_threads
from tvm_mobilenet.runtime.tvm_library import load_runtime, loader_of

# Arguments of vm_initialization: DLPack's kDLCPU, device 0, and TVM's pooled allocator, which
# keeps the activations between calls (tvm/runtime/vm.py).
_CPU, _POOLED = 1, 2


class _Binding(threading.local):
    """What one thread needs for a call."""

    main: Callable[[Any], Any] | None = None
    staging: Staging


class VmModule(LoadedArtifact[Kernels]):
    """A loaded artifact whose kernels run on the processor.

    The input is read in place if it is C-contiguous and aligned as :attr:`inputs` states (a
    MobileNet's first convolution takes any address of a float32), else copied first.
    """

    def __init__(
        self, path: str, manifest: dict[str, Any], code: Code, ffi: ModuleType, threads: int
    ) -> None:
        super().__init__(path, manifest, threads)
        expect_threads(threads)
        self._ffi = ffi
        # In this order, in which they go: machines hold the code too.
        self._binding = _Binding()
        self._code = code
        self._several = len(manifest["outputs"]) > 1

    @classmethod
    def open(
        cls, path: str, manifest: dict[str, Any], copy: PrivateCopy, threads: int, device: Device
    ) -> VmModule:
        """Load what :meth:`check` has let pass."""
        ffi = load_runtime()
        code = open_library(path, f"tvm:{manifest['sha256']}", copy, loader_of(ffi))
        return cls(path, manifest, code, ffi, threads)

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
