"""CUDA source on the processor: what nvcc compiles, compiled by g++ and run on fibers.

``cuda_headers`` stands for CUDA's own headers, down to tensor cores. So float16 kernels and
matrix instructions are checked in numbers where there is no GPU.
"""

from __future__ import annotations

import ctypes
import functools
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from parts import host_cxx

from tvm_mobilenet.artifact.launches import Launch
from tvm_mobilenet.emit.relax.device_code import device_code
from tvm_mobilenet.machine import TargetSpec

Array = NDArray[Any]
HEADERS = Path(__file__).parent / "cuda_headers"
_GUARD = 4096
_PATTERN = 0xFF
"""Of the bytes behind a buffer: NaN as float32 and as float16."""

_KERNEL = re.compile(
    r'extern "C" __global__ void (?:__launch_bounds__\([\d, ]+\) )?(\w+)\(([^)]*)\)'
)
_ALIGNED = 256
"""Bytes: what cudaMalloc aligns to."""


def run_cuda_on_cpu(func: Any, target: TargetSpec, inputs: Sequence[Array]) -> Array:
    """Run a scheduled function's CUDA source: from its inputs to its output, the last parameter.

    Parameters
    ----------
    func : tirx.PrimFunc
        Bound to threads.
    target : TargetSpec
        A CUDA target.
    inputs : sequence of ndarray
        Of the shapes and types of its parameters but the last.
    """
    code = device_code({"kernel": func}, target)
    shapes = [tuple(int(size) for size in param.ty.shape) for param in func.params]
    dtypes = [np.dtype(str(param.ty.dtype)) for param in func.params]
    given = [(np.shape(x), np.asarray(x).dtype) for x in inputs]
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
    arrays = [np.ascontiguousarray(x) for x in inputs]
    sizes = [*(x.nbytes for x in arrays), output.nbytes, *scratch]
    places = [_aligned(size + _GUARD) for size in sizes]
    for place, array in zip(places, arrays, strict=False):
        place[: array.nbytes] = array.reshape(-1).view(np.uint8)
    run = ctypes.CDLL(str(kernels_on_cpu(source))).run_kernel
    for launch in launches:
        pointers = [ctypes.c_void_p(places[number].ctypes.data) for number in launch.arguments]
        arguments = (ctypes.c_void_p * len(pointers))(*map(ctypes.addressof, pointers))
        threads = [(ctypes.c_uint * 3)(*three) for three in (launch.grid, launch.block)]
        count = run(launch.kernel.encode(), *threads, 0, arguments, 1)
        assert count >= 0, f"{launch.kernel}: threads of a block part at a barrier"
        assert count == len(pointers), f"{launch.kernel} takes {count} buffers"
    for number, (place, size) in enumerate(zip(places, sizes, strict=True)):
        assert (place[size:] == _PATTERN).all(), f"buffer {number} was written beyond its end"
    output.reshape(-1).view(np.uint8)[:] = places[len(arrays)][: output.nbytes]
    return output


def _aligned(size: int) -> NDArray[np.uint8]:
    whole = np.full(size + _ALIGNED, _PATTERN, np.uint8)
    first = -whole.ctypes.data % _ALIGNED
    return whole[first : first + size]


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="cuda-on-cpu-")


@functools.cache
def kernels_on_cpu(source: str) -> Path:
    """Compile kernels for the processor, behind one function; each source once.

    ``int run_kernel(name, grid, block, shared, arguments, run)``: `arguments` point to what a
    kernel takes, as CUDA's launches do; returns their count, -1 where threads of a block part.
    """
    compiler = host_cxx()
    glue = ["#include <cstring>", "namespace { void** given; }"]
    anything = "template <class T> operator T*() const { return *(T**)p; }"
    glue.append(f"struct Any {{ void* p; {anything} }};")
    glue.append('extern "C" int run_kernel(const char* name, const unsigned* grid,')
    glue.append("    const unsigned* block, unsigned, void** arguments, int run) {")
    glue.append("  given = arguments;")
    for name, parameters in dict(_KERNEL.findall(source)).items():
        count = parameters.count("*")
        assert count == len(parameters.split(",")), f"{name} takes more than buffers"
        each = ", ".join(f"Any{{given[{i}]}}" for i in range(count))
        glue.append(f'  if (!std::strcmp(name, "{name}")) {{')
        glue.append(f"    bool right = !run || fibers::run([] {{ {name}({each}); }}, grid, block);")
        glue.append(f"    return right ? {count} : -1;\n  }}")
    glue.append("  __builtin_trap();\n}")
    # C++ has attributes before `static`, which shared memory is here.
    source = source.replace("__shared__ alignas(64)", "alignas(64) __shared__")
    path = Path(tempfile.mkdtemp(dir=_folder().name)) / "kernels.cc"
    path.write_text("\n".join([source, *glue]))
    command = [compiler, "-std=c++17", "-O1", "-w", "-fPIC", "-shared", "-fno-strict-aliasing"]
    command += ["-I", str(HEADERS), "-o", str(path.with_suffix(".so")), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    return path.with_suffix(".so")
