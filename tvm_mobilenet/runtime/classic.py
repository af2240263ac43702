"""Artifacts of the classic stack: TVM 0.19's graph executor behind the same callable.

Every Python thread gets an executor of its own; all read the weights where the file is mapped.
The one module of the runtime that imports ``tvm``: TVM 0.19 can be called no other way.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tvm_mobilenet.errors import RuntimeLibraryError
from tvm_mobilenet.runtime.graph_executor import (
    CPU,
    Memory,
    bound_calls,
    byte_size,
    executor_text,
    stored_weights,
)
from tvm_mobilenet.runtime.inputs import aligned_empty
from tvm_mobilenet.runtime.kernels import Kernels
from tvm_mobilenet.runtime.library import Code, open_library
from tvm_mobilenet.runtime.loaded import Device, LoadedArtifact, Visit
from tvm_mobilenet.runtime.private import PrivateCopy
from tvm_mobilenet.runtime.threads import call_elsewhere, expect_threads, use_threads

_TENSOR = 7
"""kTVMDLTensorHandle of include/tvm/runtime/c_runtime_api.h."""


class _Binding(threading.local):
    """What one thread needs for a call: looked up once, it takes 150 µs of each."""

    run: Any = None
    staging: Any = None
    outputs: Sequence[Any] = ()


class ClassicModule(LoadedArtifact[Kernels]):
    """A loaded artifact of the classic stack; its input is copied."""

    def __init__(
        self, path: str, manifest: dict[str, Any], code: Code, tvm: Any, threads: int
    ) -> None:
        super().__init__(path, manifest, threads)
        expect_threads(threads)
        self._tvm = tvm
        self._binding = _Binding()
        self._graph = manifest["graph"]
        stored = stored_weights(code.copy.file, Path(path), self._graph)
        self._weights = {name: tvm.nd.from_dlpack(array) for name, array in stored.items()}
        self._code = code  # last, as it goes last: executors hold it too

    @classmethod
    def open(
        cls, path: str, manifest: dict[str, Any], copy: PrivateCopy, threads: int, device: Device
    ) -> ClassicModule:
        """Load what :meth:`check` has let pass."""
        try:
            import tvm
        except (ImportError, OSError, RuntimeError) as error:
            raise RuntimeLibraryError(
                f"TVM 0.19 cannot be imported: {error}", "make its environment anew: `make relay`"
            ) from error
        # Not `load_module`, which looks for the file that a link leads to: this one has no name.
        load = tvm.get_global_func("runtime.ModuleLoadFromFile")
        code = open_library(path, f"tvm:{manifest['sha256']}", copy, lambda name: load(name, "so"))
        return cls(path, manifest, code, tvm, threads)

    def _call(self, x: Any) -> Any:
        binding = self._binding
        if binding.run is None:
            found = call_elsewhere(self.threads, self._call, x)
            if found is not None:
                return found
        use_threads(self._tvm, self.threads)
        if binding.run is None:
            self._bind(binding)
        np.copyto(binding.staging, self._input.array(x))
        binding.run()
        found = [output.copy() for output in binding.outputs]
        return found[0] if len(found) == 1 else tuple(found)

    def _visit(self, x: Any, visit: Visit) -> None:
        use_threads(self._tvm, self.threads)
        for record, (name, arguments) in zip(self.manifest["calls"], self._calls(x), strict=True):
            self._code.module.get_function(name)(*arguments)
            visit(record, arguments[-1].numpy())

    def _held(self, x: Any) -> Kernels:
        use_threads(self._tvm, self.threads)
        return _Kernels(self._code, self._code.module, self._tvm, self._calls(x), self.threads)

    def _bind(self, binding: _Binding) -> None:
        """Make an executor, with the arrays that it reads and writes."""
        create = self._tvm.get_global_func("tvm.graph_executor.create")
        executor = create(executor_text(self._graph), self._code.module, *CPU)
        for name, array in self._weights.items():
            executor["set_input_zero_copy"](name, array)
        staging = aligned_empty(self._input.shape, self._input.dtype)
        executor["set_input_zero_copy"](self._input.name, self._tvm.nd.from_dlpack(staging))
        binding.staging, binding.run = staging, executor["run"]
        count = len(self.manifest["outputs"])
        binding.outputs = [np.from_dlpack(executor["get_output"](i)) for i in range(count)]

    def _calls(self, x: Any) -> list[tuple[str, tuple[Any, ...]]]:
        """Return every kernel's name and buffers, inputs then output, the input being `x`."""

        def memory(size: int) -> Memory:
            raw = aligned_empty((size,), np.uint8)
            return lambda shape, dtype: self._tvm.nd.from_dlpack(
                raw[: byte_size(shape, dtype)].view(dtype).reshape(shape)
            )

        calls, inputs = bound_calls(self._graph, self._weights, memory)
        inputs[self._input.name].copyfrom(self._input.array(x))
        return calls


class _Kernels(Kernels):
    """Kernels whose arguments are turned into C's once: TVM 0.19 takes 8 µs for that."""

    def __init__(self, code: Code, library: Any, tvm: Any, calls: Any, threads: int) -> None:
        super().__init__(code, library, tvm, calls, threads)
        self._calls = [
            replace(call, function=_Prepared(tvm, call.function, call.arguments))
            for call in self._calls
        ]


class _Prepared:
    """A call of a kernel on fixed buffers, whatever it is given (TVMFuncCall)."""

    def __init__(self, tvm: Any, function: Any, arguments: tuple[Any, ...]) -> None:
        # C holds no references: the kernel and its buffers live as long as this.
        self._function, self._arguments = function, arguments
        self._base = tvm._ffi.base
        count = len(arguments)
        self._values = (ctypes.c_void_p * count)(
            *(ctypes.cast(argument.handle, ctypes.c_void_p) for argument in arguments)
        )
        self._codes = (ctypes.c_int * count)(*[_TENSOR] * count)
        self._result, self._result_code = ctypes.c_void_p(), ctypes.c_int()

    def __call__(self, *_: Any) -> None:
        if self._base._LIB.TVMFuncCall(
            self._function.handle,
            self._values,
            self._codes,
            len(self._arguments),
            ctypes.byref(self._result),
            ctypes.byref(self._result_code),
        ):
            self._base.raise_last_ffi_error()
