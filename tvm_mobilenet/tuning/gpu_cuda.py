"""Candidates on an NVIDIA GPU of this machine, through its driver alone.

A call of a few microseconds is shorter than launching it takes. So calls are captured as a
graph, and timed by events before and after launches of that.
"""

from __future__ import annotations

import base64
import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from tvm_mobilenet.errors import GpuArchitectureError, GpuError, GpuMemoryError
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.machine.driver import find_gpu, runs

Array = NDArray[Any]

_LEAST_CALLS = 32
"""Least calls in a graph: so many that the launch of the graph itself does not count."""

# cuda.h: CUresult, CUfunction_attribute, CUstreamCaptureMode.
_OUT_OF_MEMORY = 2
_NOT_FOR_THIS_GPU = (200, 209, 218, 222)
_STATIC_SHARED, _DYNAMIC_SHARED = 1, 8
_RELAXED = 2

_Pointer = ctypes.c_void_p


class Driver:
    """The functions of ``libcuda.so.1``; what one returns other than success is raised."""

    def __init__(self) -> None:
        self._cuda = ctypes.CDLL("libcuda.so.1")

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._cuda, name)

        def call(*arguments: Any) -> None:
            if status := function(*arguments):
                raise self._named(name, status)

        return call

    def _named(self, name: str, status: int) -> GpuError:
        text = ctypes.c_char_p()
        self._cuda.cuGetErrorString(status, ctypes.byref(text))
        what = f"{name}: {(text.value or b'').decode() or f'error {status}'}"
        if status == _OUT_OF_MEMORY:
            return GpuMemoryError(what, "end what else uses the GPU, or take a smaller batch")
        if status in _NOT_FOR_THIS_GPU:
            return GpuArchitectureError(what, "tune for this GPU's architecture")
        return GpuError(what, "look at nvidia-smi and dmesg, and run it again")


def gpu_of(target: TargetSpec) -> str:
    """Return the name of the GPU here.

    Raises
    ------
    NoGpuError, GpuDriverError
        There is none that is driven.
    GpuArchitectureError
        It does not run code for the target.
    """
    gpu = find_gpu()
    if not runs(target.the_gpu.arch, gpu):
        raise GpuArchitectureError(
            f"{target.name} is {target.the_gpu.arch}, and {gpu.name} is {gpu.arch}",
            f"use --target {gpu.arch}",
        )
    return gpu.name


class CudaProcessor:
    """An NVIDIA GPU; see :class:`tvm_mobilenet.tuning.gpu_fixture.Processor`.

    Raises
    ------
    GpuArchitectureError
        It does not run code for the target.
    """

    def __init__(self, target: TargetSpec) -> None:
        self.name = gpu_of(target)
        self._driver = driver = Driver()
        device, context, stream = ctypes.c_int(), _Pointer(), _Pointer()
        driver.cuInit(0)
        driver.cuDeviceGet(ctypes.byref(device), 0)
        driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
        driver.cuCtxSetCurrent(context)
        driver.cuStreamCreate(ctypes.byref(stream), 0)
        self._stream = stream

    def upload(self, array: Array) -> _Buffer:
        """Return a buffer with this content."""
        buffer = _Buffer(self._driver, array.nbytes)
        self.write(buffer, array)
        return buffer

    def write(self, buffer: _Buffer, array: Array) -> None:
        """Replace a buffer's content."""
        source = _Pointer(array.ctypes.data)
        self._driver.cuMemcpyHtoD_v2(buffer.address, source, ctypes.c_size_t(array.nbytes))

    def read(self, buffer: _Buffer, array: Array) -> None:
        """Wait for all that runs, and copy a buffer's content."""
        self._driver.cuStreamSynchronize(self._stream)
        target = _Pointer(array.ctypes.data)
        self._driver.cuMemcpyDtoH_v2(target, buffer.address, ctypes.c_size_t(array.nbytes))

    def runs(self, content: Mapping[str, Any], buffers: Sequence[Sequence[_Buffer]]) -> _Runs:
        """Load a candidate's code, and capture some calls of it."""
        return _Runs(self._driver, self._stream, content, buffers)


class _Buffer:
    """Bytes on the GPU, freed with this object."""

    def __init__(self, driver: Driver, size: int) -> None:
        self._driver = driver
        self.address = ctypes.c_uint64()
        driver.cuMemAlloc_v2(ctypes.byref(self.address), ctypes.c_size_t(max(size, 1)))

    def __del__(self) -> None:
        if self.address.value:
            self._driver.cuMemFree_v2(self.address)


class _Runs:
    """See :class:`tvm_mobilenet.tuning.gpu_fixture.Runs`."""

    def __init__(
        self,
        driver: Driver,
        stream: Any,
        content: Mapping[str, Any],
        buffers: Sequence[Sequence[_Buffer]],
    ) -> None:
        self._driver, self._stream = driver, stream
        self._kept = buffers  # the graph holds their addresses
        self._module, self._graph, self._executable = _Pointer(), _Pointer(), _Pointer()
        code = base64.b64decode(content["cubin"])
        driver.cuModuleLoadData(ctypes.byref(self._module), code)
        functions = [self._function(launch) for launch in content["launches"]]
        self._events = [_Pointer(), _Pointer()]
        for event in self._events:
            driver.cuEventCreate(ctypes.byref(event), 0)
        turns = -(-_LEAST_CALLS // len(buffers))
        self._calls = turns * len(buffers)
        driver.cuStreamBeginCapture_v2(stream, _RELAXED)
        for own in list(buffers) * turns:
            for launch, (function, dynamic) in zip(content["launches"], functions, strict=True):
                self._launch(launch, function, dynamic, own)
        driver.cuStreamEndCapture(stream, ctypes.byref(self._graph))
        driver.cuGraphInstantiateWithFlags(
            ctypes.byref(self._executable), self._graph, ctypes.c_ulonglong(0)
        )

    def __del__(self) -> None:
        driver = self._driver
        if self._executable:
            driver.cuGraphExecDestroy(self._executable)
            driver.cuGraphDestroy(self._graph)
        if self._module:
            driver.cuModuleUnload(self._module)

    def seconds(self, count: int) -> float:
        """Run so many calls or some more; return the mean time of one, between two events."""
        driver, (first, last) = self._driver, self._events
        times = -(-count // self._calls)
        driver.cuGraphLaunch(self._executable, self._stream)  # events wait for a busy GPU
        driver.cuEventRecord(first, self._stream)
        for _ in range(times):
            driver.cuGraphLaunch(self._executable, self._stream)
        driver.cuEventRecord(last, self._stream)
        driver.cuEventSynchronize(last)
        milliseconds = ctypes.c_float()
        driver.cuEventElapsedTime(ctypes.byref(milliseconds), first, last)
        return milliseconds.value * 1e-3 / (times * self._calls)

    def _function(self, launch: Mapping[str, Any]) -> tuple[Any, int]:
        """Return a kernel, and the shared memory that its launch has to ask for."""
        function, static = _Pointer(), ctypes.c_int()
        name = launch["kernel"].encode()
        self._driver.cuModuleGetFunction(ctypes.byref(function), self._module, name)
        self._driver.cuFuncGetAttribute(ctypes.byref(static), _STATIC_SHARED, function)
        dynamic = max(launch["shared"] - static.value, 0)
        if dynamic:
            self._driver.cuFuncSetAttribute(function, _DYNAMIC_SHARED, dynamic)
        return function, dynamic

    def _launch(
        self, launch: Mapping[str, Any], function: Any, dynamic: int, own: Sequence[_Buffer]
    ) -> None:
        addresses = [own[number].address for number in launch["buffers"]]
        pointers = (_Pointer * len(addresses))(*(ctypes.addressof(a) for a in addresses))
        sizes = (*launch["grid"], *launch["block"])
        self._driver.cuLaunchKernel(function, *sizes, dynamic, self._stream, pointers, None)
