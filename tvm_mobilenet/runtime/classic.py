"""Artifacts of the classic stack: TVM 0.19's graph executor behind the same callable.

Every Python thread gets an executor of its own; all read the weights where the file is mapped.
The one module of the runtime that imports ``tvm``: TVM 0.19 can be called no other way.
"""

from __future__ import annotations

import ctypes
import json
import math
import mmap
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.errors import ManifestError, RuntimeLibraryError
from tvm_mobilenet.runtime.elf import AGAIN, find_section
from tvm_mobilenet.runtime.inputs import aligned_empty
from tvm_mobilenet.runtime.kernels import Kernels
from tvm_mobilenet.runtime.library import Code, open_library
from tvm_mobilenet.runtime.loaded import LoadedArtifact, Visit
from tvm_mobilenet.runtime.private import PrivateCopy
from tvm_mobilenet.runtime.threads import call_elsewhere, use_threads
from tvm_mobilenet.sources import NO_OPERATION, PARAMETERS, section_name

_TENSOR = 7
"""kTVMDLTensorHandle of include/tvm/runtime/c_runtime_api.h."""

_ALIGNMENT = 64
"""Bytes: what TVM takes every weight to be aligned to."""

CPU = (1, 0)
"""DLPack's kDLCPU, device 0."""

Memory = Callable[[tuple[int, ...], str], Any]
"""From a shape and a type to a tensor at its begin."""


class _Binding(threading.local):
    """What one thread needs for a call: looked up once, it takes 150 µs of each."""

    run: Any = None
    staging: Any = None
    outputs: Sequence[Any] = ()


class ClassicModule(LoadedArtifact[Kernels]):
    """A loaded artifact of the classic stack; its input is copied.

    Parameters
    ----------
    path : str
    manifest : dict
    code : Code
    tvm : module
        TVM 0.19.
    threads : int
        Threads that one call uses.
    """

    def __init__(
        self,
        path: str,
        manifest: dict[str, Any],
        code: Code,
        tvm: Any,
        *,
        threads: int,
    ) -> None:
        super().__init__(path, manifest, threads)
        self._tvm = tvm
        self._binding = _Binding()
        self._graph = manifest["graph"]
        stored = stored_weights(code.copy.file, Path(path), self._graph)
        self._weights = {name: tvm.nd.from_dlpack(array) for name, array in stored.items()}
        self._code = code  # last, as it goes last: executors hold it too

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
                raw[: _bytes(shape, dtype)].view(dtype).reshape(shape)
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


def load_classic(
    path: str, manifest: dict[str, Any], copy: PrivateCopy, threads: int
) -> ClassicModule:
    """Load an artifact of the classic stack, its manifest checked already.

    Parameters
    ----------
    path : str
    manifest : dict
    copy : PrivateCopy
        Its content.
    threads : int

    Raises
    ------
    RuntimeLibraryError
        TVM 0.19 cannot be imported.
    NotAnArtifactError, TruncatedArtifactError, ArtifactError
        It holds no weights, or is refused by the system's loader.
    """
    try:
        import tvm
    except (ImportError, OSError, RuntimeError) as error:
        raise RuntimeLibraryError(
            f"TVM 0.19 cannot be imported: {error}", "make its environment anew: `make relay`"
        ) from error
    # Not `load_module`, which looks for the file that a link leads to: this one has no name.
    load = tvm.get_global_func("runtime.ModuleLoadFromFile")
    code = open_library(path, manifest["sha256"], copy, lambda name: load(name, "so"))
    return ClassicModule(path, manifest, code, tvm, threads=threads)


def executor_text(graph: Mapping[str, Any]) -> str:
    """Return the description of a network as TVM's graph executor reads it."""
    return json.dumps({k: v for k, v in graph.items() if k != PARAMETERS})


def bound_calls(
    graph: Mapping[str, Any], weights: Mapping[str, Any], memory: Callable[[int], Memory]
) -> tuple[list[tuple[str, tuple[Any, ...]]], dict[str, Any]]:
    """Give every kernel of a graph its buffers.

    They share memory as the executor's do: by the storage that Relay planned.

    Parameters
    ----------
    graph : mapping
        The executor's description.
    weights : mapping
        Tensors by name.
    memory : callable
        From a number of bytes to memory, which makes tensors of shapes and types.

    Returns
    -------
    list of (str, tuple), dict
        Every kernel's name and buffers, inputs then output; the network's inputs by name.
    """
    nodes, firsts = graph["nodes"], graph["node_row_ptr"]
    entries = _entries(graph)
    storages = graph["attrs"]["storage_id"][1]
    sizes: dict[int, int] = {}
    for storage, (shape, dtype) in zip(storages, entries, strict=True):
        sizes[storage] = max(sizes.get(storage, 0), _bytes(shape, dtype))
    bound = {}
    for number, node in enumerate(nodes):
        if node["op"] == "null" and node["name"] in weights:
            bound[firsts[number]] = weights[node["name"]]
            sizes.pop(storages[firsts[number]])  # an input's storage is its own
    memories = {storage: memory(size) for storage, size in sizes.items()}
    for entry, (shape, dtype) in enumerate(entries):
        if entry not in bound:
            bound[entry] = memories[storages[entry]](shape, dtype)
    calls, inputs = [], {}
    for number, node in enumerate(nodes):
        if node["op"] == "null":
            inputs[node["name"]] = bound[firsts[number]]
        elif (name := str(node["attrs"]["func_name"])) != NO_OPERATION:
            reads = [bound[firsts[source] + output] for source, output, *_ in node["inputs"]]
            writes = [bound[entry] for entry in range(firsts[number], firsts[number + 1])]
            calls.append((name, (*reads, *writes)))
    return calls, inputs


def stored_weights(
    file: BufferedIOBase, path: Path, graph: Mapping[str, Any]
) -> dict[str, NDArray[Any]]:
    """Return the weights over the mapped file: read on demand, shared, never copied.

    Parameters
    ----------
    file : binary file
        The artifact. It may be closed afterwards.
    path : Path
        What messages call it.
    graph : mapping
        Of its manifest.
    """
    if not graph[PARAMETERS]:  # then there is no section
        return {}
    section = find_section(file, path, section_name(PARAMETERS))
    # Copy on write: NumPy lends no read-only memory to TVM 0.19, and nobody writes.
    private = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    mapped = np.frombuffer(private, np.uint8)
    entries, firsts = _entries(graph), graph["node_row_ptr"]
    kinds = {node["name"]: entries[firsts[at]] for at, node in enumerate(graph["nodes"])}
    arrays = {}
    for name, place in graph[PARAMETERS].items():
        shape, dtype = kinds[name]
        size = _bytes(shape, dtype)
        if place % _ALIGNMENT or place + size > section.size:
            raise ManifestError(
                f"the manifest of {path} contradicts itself: graph.{PARAMETERS}.{name} does not "
                "lie in its section",
                AGAIN,
            )
        start = section.offset + place
        raw = mapped[start : start + size]
        arrays[name] = raw.view(dtype).reshape(shape)
    return arrays


def _entries(graph: Mapping[str, Any]) -> list[tuple[tuple[int, ...], str]]:
    """Return shape and type of every tensor of a graph."""
    shapes, dtypes = graph["attrs"]["shape"][1], graph["attrs"]["dltype"][1]
    return [(tuple(shape), str(dtype)) for shape, dtype in zip(shapes, dtypes, strict=True)]


def _bytes(shape: tuple[int, ...], dtype: str) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize
