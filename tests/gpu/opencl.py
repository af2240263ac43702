"""Kernels on a real OpenCL device, with nothing of the package's own runtime in between.

PoCL is one, on the processor. Behind every buffer lies a guard: what a kernel reads there
is NaN, what it writes there is found.
"""

from __future__ import annotations

import functools
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import tvm
from numpy.typing import NDArray

from tvm_mobilenet.artifact.launches import Launch
from tvm_mobilenet.common.stacks import installed_stack
from tvm_mobilenet.emit.relax.device_code import device_code
from tvm_mobilenet.machine import TargetSpec, host_machine

# Before PoCL is loaded. Workers of one run share what they compile, without the optimizer: it
# would take three quarters of the time of these tests.
_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
os.environ.setdefault("POCL_CACHE_DIR", os.path.join(tempfile.gettempdir(), f"pocl-{_RUN}"))
os.environ.setdefault("PYOPENCL_BUILD_OPTIONS", "-cl-opt-disable")
os.environ.setdefault("PYOPENCL_NO_CACHE", "1")

Array = NDArray[Any]
# The wheel is for x86-64 only, and its PoCL 3.0 never ends a kernel of the classic stack.
_WHEEL = host_machine() == "x86_64" and installed_stack() == "relax"
_POCL = "pip install pocl-binary-distribution" if _WHEEL else "apt install pocl-opencl-icd"
_GUARD = 4096
_PATTERN = 0xFF
"""Of a guard's bytes: NaN as float32 and as float16."""


@functools.cache
def opencl_context() -> Any:
    """A context on the first device; skips the test where there is none."""
    cl = pytest.importorskip("pyopencl", reason="no pyopencl: pip install pyopencl")
    try:
        platforms = cl.get_platforms()
    except cl.Error:
        platforms = []
    devices = [device for platform in platforms for device in platform.get_devices()]
    if not devices:
        pytest.skip(f"no OpenCL device: {_POCL}")
    return cl.Context(devices[:1])


def has_float16() -> bool:
    """Whether the device computes with halves."""
    return "cl_khr_fp16" in opencl_context().devices[0].extensions


def run_on_opencl(func: Any, target: TargetSpec, inputs: Sequence[Array]) -> Array:
    """Run a scheduled function: from its inputs to its output, the last parameter.

    Parameters
    ----------
    func : tirx.PrimFunc
        Bound to threads.
    target : TargetSpec
        ``parse("opencl")`` or alike.
    inputs : sequence of ndarray
        Of the shapes and types of its parameters but the last.
    """
    opencl_context()
    code = device_code({"kernel": func}, target)
    shapes = [tuple(int(size) for size in param.ty.shape) for param in func.params]
    dtypes = [np.dtype(str(param.ty.dtype)) for param in func.params]
    given = [(np.ascontiguousarray(x).shape, x.dtype) for x in inputs]
    assert given == list(zip(shapes[:-1], dtypes[:-1], strict=True)), (given, shapes, dtypes)
    output = np.empty(shapes[-1], dtypes[-1])
    return run_source(code.source, code.kernels["kernel"], code.scratch["kernel"], inputs, output)


def run_source(
    source: str,
    launches: Sequence[Launch],
    scratch: Sequence[int],
    inputs: Sequence[Array],
    output: Array,
) -> Array:
    """Launch kernels over inputs, output and scratch, in this order of numbers; fill `output`."""
    import pyopencl as cl

    context = opencl_context()
    kernels = _build(source)
    queue = cl.CommandQueue(context)
    sizes = [*(x.nbytes for x in inputs), output.nbytes, *scratch]
    buffers = []
    for number, size in enumerate(sizes):
        content = np.full(size + _GUARD, _PATTERN, np.uint8)
        if number < len(inputs):
            content[:size] = np.ascontiguousarray(inputs[number]).reshape(-1).view(np.uint8)
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
        buffers.append(cl.Buffer(context, flags, hostbuf=content))
    for launch in launches:
        kernel = kernels[launch.kernel]
        for place, number in enumerate(launch.arguments):
            kernel.set_arg(place, buffers[number])
        threads = tuple(g * b for g, b in zip(launch.grid, launch.block, strict=True))
        cl.enqueue_nd_range_kernel(queue, kernel, threads, launch.block)
    for number, (buffer, size) in enumerate(zip(buffers, sizes, strict=True)):
        content = np.empty(size + _GUARD, np.uint8)
        cl.enqueue_copy(queue, content, buffer)
        assert (content[size:] == _PATTERN).all(), f"buffer {number} was written beyond its end"
        if number < len(inputs):
            before = np.ascontiguousarray(inputs[number]).reshape(-1).view(np.uint8)
            assert (content[:size] == before).all(), f"input {number} was written to"
        elif number == len(inputs):
            output.reshape(-1).view(np.uint8)[:] = content[:size]
    return output


@functools.lru_cache(maxsize=8)
def _build(source: str) -> Mapping[str, Any]:
    import pyopencl as cl

    program = cl.Program(opencl_context(), source)
    with warnings.catch_warnings():
        # What pip's PoCL, older than many processors, says of passing their vectors.
        warnings.simplefilter("ignore", cl.CompilerWarning)
        kernels = program.build().all_kernels()
    return {kernel.function_name: kernel for kernel in kernels}


def bound(func: Any, target: TargetSpec) -> Any:
    """`func` with its loops bound to threads by TVM's simplest rule."""
    from tvm.s_tir import dlight

    with tvm.target.Target(target.tvm_dict()):
        rules = dlight.ApplyDefaultSchedule(dlight.gpu.Fallback())
        return rules(tvm.IRModule({"main": func}))["main"]
