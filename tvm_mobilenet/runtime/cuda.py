"""A network compiled for CUDA as a Python callable: NumPy in, NumPy out.

One virtual machine holds weights, maps, input and outputs on the GPU; calls take turns.
The first call captures the network as one graph, later ones launch that.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from tvm_mobilenet.artifact.toolchain_cuda import cuda_packages
from tvm_mobilenet.errors import GpuError, NoGpuError, RuntimeLibraryError, last_line
from tvm_mobilenet.runtime.gpu import check_gpu, out_of_memory
from tvm_mobilenet.runtime.instrument import Profile, observe, output_of
from tvm_mobilenet.runtime.kernels import Kernels, library_of
from tvm_mobilenet.runtime.library import Code, open_library
from tvm_mobilenet.runtime.loaded import Device, OnDevice, Visit
from tvm_mobilenet.runtime.private import PrivateCopy
from tvm_mobilenet.runtime.tvm_library import find_runtime, load_runtime, loader_of

# DLPack's device types; TVM's pooled allocator; DeviceAttrKind of tvm/runtime/device_api.h.
_CPU, _CUDA, _PINNED, _POOLED, _FREE_MEMORY = 1, 2, 3, 2, 15
# What DLPack's consumers call the stream that all others wait for.
_LEGACY_STREAM = 1

_LAYERS = "main_layers"
_RUNTIME, _CUDART = "libtvm_runtime_cuda.so", "libcudart.so.13"


def load_cuda_runtime(ffi: ModuleType) -> None:
    """Load TVM's CUDA runtime beside TVM's runtime, once.

    Raises
    ------
    RuntimeLibraryError
        It, or the CUDA runtime that it links to, is not installed.
    """
    if ffi.get_global_func("device_api.cuda", allow_missing=True) is not None:
        return
    candidates = [_CUDART, *(str(root / "lib" / _CUDART) for root in cuda_packages())]
    if not any(map(_loaded, candidates)):
        raise RuntimeLibraryError(
            f"no {_CUDART}: neither the system nor pip's packages have CUDA's runtime",
            "install it with `pip install 'nvidia-cuda-runtime>=13,<14'`",
        )
    path = find_runtime().parent / _RUNTIME
    try:
        ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise RuntimeLibraryError(
            f"{path} cannot be loaded: {error}", "install apache-tvm's wheel for this machine"
        ) from error


def _loaded(path: str) -> bool:
    try:
        ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


class CudaModule(OnDevice[Kernels]):
    """A loaded artifact whose kernels run on a GPU of NVIDIA's.

    Threads take turns. The input may be on the GPU already.

    Attributes
    ----------
    device : str
        The GPU's name.
    """

    def __init__(
        self, path: str, manifest: dict[str, Any], code: Code, ffi: ModuleType, threads: int
    ) -> None:
        super().__init__(path, manifest, threads)
        self._ffi = ffi
        gpu = check_gpu(manifest, path)
        self.device = gpu.name
        self._device = ffi.device(_CUDA, 0)
        self._lock = threading.Lock()
        self._copy: Callable[[Any, Any], None] = ffi.get_global_func("runtime.TVMTensorCopyFromTo")
        self._wait = ffi.get_global_func("runtime.Device_StreamSync")
        needed = int(manifest["gpu"]["memory_bytes"])
        free = int(ffi.get_global_func("runtime.GetDeviceAttr")(_CUDA, 0, _FREE_MEMORY))
        if needed > free:
            raise out_of_memory(path, needed, free, f"{gpu.name} has free")
        record = manifest["inputs"][0]
        outputs = manifest["gpu"]["outputs"]
        try:
            self._vm = code.module["vm_load_executable"]()
            self._vm["vm_initialization"](_CUDA, 0, _POOLED, _CPU, 0, _POOLED)
            self._x = self._empty(_CUDA, record)
            self._y = [self._empty(_CUDA, output) for output in outputs]
            self._x_host = self._empty(_PINNED, record)
        except RuntimeError as error:
            raise _named(error, path, needed) from error
        self._x_view = np.from_dlpack(self._x_host)
        self._main = self._vm["main"]
        self._code = code  # last, as it goes last: the machine holds it too

    @classmethod
    def check(cls, manifest: Mapping[str, Any], where: str, device: Device = None) -> None:
        """Refuse what no GPU here can run, or another than the one that is asked for."""
        super().check(manifest, where)
        first = check_gpu(manifest, where).name
        wanted = "0" if device is None else str(device).lower()
        if wanted != "0" and wanted not in first.lower():
            raise NoGpuError(
                f"{where} would run on {first}, and {device!r} was asked for",
                "let CUDA_VISIBLE_DEVICES show that GPU alone",
            )

    @classmethod
    def open(
        cls, path: str, manifest: dict[str, Any], copy: PrivateCopy, threads: int, device: Device
    ) -> CudaModule:
        """Load what :meth:`check` has let pass."""
        ffi = load_runtime()
        load_cuda_runtime(ffi)
        code = open_library(path, f"tvm:{manifest['sha256']}", copy, loader_of(ffi))
        return cls(path, manifest, code, ffi, threads)

    @property
    def device_name(self) -> str:
        """The GPU's name."""
        return self.device

    def _call(self, x: Any) -> Any:
        with self._lock:
            self._put(x)
            return self._run(self._main)

    def launch(self) -> None:
        """Run the model on the input of the last call, and leave the output on the GPU."""
        self._main(self._x, *self._y)

    def synchronize(self) -> None:
        """Wait until the GPU is done."""
        self._wait(self._device, 0)

    def _visit(self, x: Any, visit: Visit) -> None:
        def after(call: dict[str, Any], arguments: tuple[Any, ...]) -> None:
            visit(call, self._fetched(output_of(arguments)).astype(np.float32))

        self._observe(x, after)

    def profile(self, x: Any, repeats: int = 20) -> Profile:
        """Time every kernel, and the network as one graph.

        Parameters
        ----------
        x : array
            As for a call.
        repeats : int
            Times to take the median of.

        Returns
        -------
        Profile
            A kernel's time is that between two events on the GPU, over launches of it alone
            that follow each other; the total is one whole call, from NumPy to NumPy.
        """
        kernels = self.kernels(x)
        spans = [kernels.alone(i, repeats=max(1, repeats // 4)) for i in range(len(kernels))]
        totals = self._totals(x, max(1, repeats))
        return Profile(
            tuple(zip(self.manifest["calls"], spans, strict=True)), float(np.median(totals)) * 1e6
        )

    def _held(self, x: Any) -> Kernels:
        calls: list[tuple[str, tuple[Any, ...]]] = []
        self._observe(x, lambda call, arguments: calls.append((call["kernel"], arguments)))
        library = library_of(self._code.module, calls)
        return Kernels(self._code, library, self._ffi, calls, self.threads, device=_CUDA)

    def _observe(self, x: Any, after: Callable[[dict[str, Any], tuple[Any, ...]], None]) -> None:
        machine = self._code.module["vm_load_executable"]()
        machine["vm_initialization"](_CUDA, 0, _POOLED, _CPU, 0, _POOLED)
        with self._lock:
            self._put(x)
            calls = self.manifest["calls"]
            observe(machine, self._ffi, (self._x, *self._y), calls, after, entry=_LAYERS)

    def _run(self, entry: Any) -> Any:
        try:
            found = entry(self._x, *self._y)
            records = self.manifest["outputs"]
            tensors = found if len(records) > 1 else (found,)
            # What is a view of a tensor is returned as that tensor.
            outputs = tuple(
                self._fetched(tensor).reshape(record["shape"])
                for tensor, record in zip(tensors, records, strict=True)
            )
            return outputs if len(records) > 1 else outputs[0]
        except RuntimeError as error:
            raise _named(error, self.path, int(self.manifest["gpu"]["memory_bytes"])) from error

    def _put(self, x: Any) -> None:
        """Copy the input into its place on the GPU."""
        if self._on_gpu(x):
            given = self._ffi.from_dlpack(x.__dlpack__(stream=_LEGACY_STREAM))
            # By its name: NumPy does not know every type that there is on a GPU.
            self._input.check(tuple(given.shape), str(given.dtype))
            if not given.is_contiguous():
                raise self._input.refuse("a strided view on the GPU", "give x.contiguous()")
            self._copy(given, self._x)
            return
        host = self._input.array(x)
        # The copy before may still be reading: the same stream, so waiting for it is enough.
        self.synchronize()
        np.copyto(self._x_view, host)
        self._copy(self._x_host, self._x)

    @staticmethod
    def _on_gpu(x: Any) -> bool:
        return hasattr(x, "__dlpack_device__") and int(x.__dlpack_device__()[0]) == _CUDA

    def _fetched(self, tensor: Any) -> Any:
        """Copy a tensor to the processor."""
        there = np.empty(tuple(tensor.shape), np.dtype(str(tensor.dtype)))
        self._copy(tensor, self._ffi.from_dlpack(there))
        self.synchronize()
        return there

    def _empty(self, kind: int, record: dict[str, Any]) -> Any:
        allocate = self._ffi.get_global_func("runtime.TVMTensorAllocWithScope")
        shape = self._ffi.Shape([int(size) for size in record["shape"]])
        device = self._ffi.device(kind, 0)
        return allocate(shape, self._ffi.dtype(record["dtype"]), device, None)


def _named(error: RuntimeError, where: str, needed: int) -> GpuError:
    """Return what TVM says of a GPU's failure as an error of ours."""
    if "MemoryAllocation" in str(error) or "out of memory" in str(error).lower():
        return out_of_memory(where, needed, 0, "of the GPU's memory there was left")
    return GpuError(
        f"the GPU failed while it ran {where}: {last_line(error)}",
        "look at nvidia-smi and dmesg, and run it again",
    )
