"""CUDA source on the processor: what nvcc compiles, compiled by g++ and run on fibers.

``cuda_headers`` stands for CUDA's own headers, down to tensor cores. So float16 kernels and
matrix instructions are checked in numbers where there is no GPU.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tvm_mobilenet.graph.device_code import Launch, device_code
from tvm_mobilenet.target import TargetSpec

HEADERS = Path(__file__).parent / "cuda_headers"
_GUARD = 4096
_PATTERN = 0xFF
"""Of the bytes behind a buffer: NaN as float32 and as float16."""

_ALIGNED = 256
"""Bytes: what cudaMalloc aligns to."""


def run_cuda_on_cpu(func: Any, target: TargetSpec, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
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
    arrays = [np.ascontiguousarray(x) for x in inputs]
    sizes = [*(x.nbytes for x in arrays), output.nbytes, *code.scratch["kernel"]]
    places = [_aligned(size + _GUARD) for size in sizes]
    for place, array in zip(places, arrays, strict=False):
        place[: array.nbytes] = array.reshape(-1).view(np.uint8)
    launches = code.kernels["kernel"]
    library = _built(code.source, tuple(dict.fromkeys(launches)))
    for launch in launches:
        pointers = (ctypes.c_void_p * len(launch.arguments))(
            *(places[number].ctypes.data for number in launch.arguments)
        )
        sizes_of = [(ctypes.c_uint * 3)(*three) for three in (launch.grid, launch.block)]
        run = library[f"run_{launch.kernel}"]
        run.restype = ctypes.c_bool
        assert run(pointers, *sizes_of), f"{launch.kernel}: threads of a block part at a barrier"
    for number, (place, size) in enumerate(zip(places, sizes, strict=True)):
        assert (place[size:] == _PATTERN).all(), f"buffer {number} was written beyond its end"
    output.reshape(-1).view(np.uint8)[:] = places[len(arrays)][: output.nbytes]
    return output


def _aligned(size: int) -> NDArray[np.uint8]:
    whole = np.full(size + _ALIGNED, _PATTERN, np.uint8)
    first = -whole.ctypes.data % _ALIGNED
    return whole[first : first + size]


@functools.lru_cache(maxsize=64)
def _built(source: str, launches: tuple[Launch, ...]) -> ctypes.CDLL:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++: apt install g++")
    # Each kernel's arguments are pointers, in the order of its declaration.
    glue = ["namespace { void** arguments; }"]
    for launch in launches:
        each = ", ".join(f"Any{{arguments[{i}]}}" for i in range(len(launch.arguments)))
        glue.append(
            f'extern "C" bool run_{launch.kernel}'
            f"(void** given, unsigned* grid, unsigned* block) {{ arguments = given;"
            f" return fibers::run([] {{ {launch.kernel}({each}); }}, grid, block); }}"
        )
    anything = "struct Any { void* p; template <class T> operator T*() const { return (T*)p; } };"
    folder = Path(tempfile.mkdtemp(prefix="cuda-on-cpu-"))
    # C++ has attributes before `static`, which shared memory is here.
    source = source.replace("__shared__ alignas(64)", "alignas(64) __shared__")
    (folder / "kernel.cc").write_text("\n".join([source, anything, *glue]))
    command = [compiler, "-std=c++17", "-O1", "-w", "-fPIC", "-shared", "-fno-strict-aliasing"]
    command += ["-I", str(HEADERS), "-o", str(folder / "kernel.so"), str(folder / "kernel.cc")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    library = ctypes.CDLL(str(folder / "kernel.so"))
    shutil.rmtree(folder)
    return library
