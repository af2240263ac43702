"""From kernels scheduled for CUDA to host code, machine code and weights.

TVM leaves device code as source text where it has no GPU, for the machine that loads the
file to compile. Here nvcc compiles it now, and its cubin takes the text's place in TVM's own
format: whoever loads the file needs no compiler, and learns of its registers from the manifest.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from tvm_mobilenet.artifact.launches import tensor_bytes
from tvm_mobilenet.artifact.linking import Code
from tvm_mobilenet.artifact.sources import imports_source
from tvm_mobilenet.artifact.toolchain_cuda import Nvcc
from tvm_mobilenet.emit.relax.codegen import to_virtual_machine
from tvm_mobilenet.emit.relax.cuda_graph import capture
from tvm_mobilenet.emit.relax.emit import ENTRY
from tvm_mobilenet.emit.relax.pipeline import Lowered
from tvm_mobilenet.emit.relax.plan_memory import plan_memory
from tvm_mobilenet.emit.relax.reading import array_of, is_constant
from tvm_mobilenet.emit.relax.tir_pipeline import DEVICE
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.network.memory import MemoryPlan

_KIND, _SOURCE, _BINARY = b"cuda", b"cuda", b"cubin"
_PAGE = 4096  # what TVM's pooled allocator gives out
_FALLBACK = "TVM_COMPILE_FORCE_FALLBACK"


def generate_cuda(lowered: Lowered, target: TargetSpec, nvcc: Nvcc) -> tuple[Code, MemoryPlan]:
    """Generate code for GPU and host. No driver is asked anything.

    Parameters
    ----------
    lowered : Lowered
        Its kernels are bound to threads.
    target : TargetSpec
        With a CUDA GPU.
    nvcc : Nvcc
        What compiles the kernels.

    Returns
    -------
    Code, MemoryPlan
        The latter of one call's activations, on the device. The former's ``part``:
        ``memory_bytes`` that weights, maps, input and outputs take; ``outputs``, shape and
        dtype of each; ``graphs``, the kernels' calls in each captured graph; ``outside``, those
        launched by themselves; ``kernels``, what each takes of a multiprocessor.

    Raises
    ------
    ToolchainError
        nvcc failed.
    """
    planned, plan = plan_memory(lowered.mod)
    entries, captured = capture(planned)
    with _source_kept():
        executable = tvm.compile(
            entries,
            target=tvm.target.Target(target.tvm_dict()),
            relax_pipeline=to_virtual_machine(),
            tir_pipeline=DEVICE,
        )
    source = str(_device_module(executable.mod).inspect_source("cuda"))
    cubin = nvcc.cubin(source, target.the_gpu.arch)
    told = {
        "memory_bytes": plan.activation_bytes + _bytes_beside(planned[ENTRY]),
        "outputs": [{"shape": list(shape), "dtype": dtype} for shape, dtype in captured.outputs],
        "graphs": list(captured.graphs),
        "outside": captured.outside,
        "kernels": {name: used.to_dict() for name, used in cubin.resources.items()},
    }

    def pack(module: Any, _system: bool, _prefix: str, folder: str) -> str:
        packed = tvm.get_global_func("runtime.ModulePackImportsToTensor")(module)
        blob, text = Path(folder) / "imports.bin", Path(folder) / "imports.c"
        blob.write_bytes(with_binary(packed.numpy().tobytes(), source.encode(), cubin.code))
        text.write_text(imports_source(blob))
        return str(text)

    return Code("cuda", (), told, partial(executable.export_library, fpack_imports=pack)), plan


def _bytes_beside(func: Any) -> int:
    """Count the bytes of a function's constants, as they are allocated, and its parameters."""
    constants: dict[bytes, int] = {}

    def visit(node: Any) -> None:
        if is_constant(node) and isinstance(node.ty, relax.TensorType):
            data = array_of(node)
            constants[data.tobytes()] = -(-data.nbytes // _PAGE) * _PAGE

    relax.analysis.post_order_visit(func.body, visit)
    taken = sum(tensor_bytes(v.ty.shape.values, str(v.ty.dtype)) for v in func.params)
    return sum(constants.values()) + taken


def with_binary(packed: bytes, source: bytes, binary: bytes) -> bytes:
    """Put machine code in the place of source text, in TVM's serialized modules.

    before: …, ``"cuda"``, n, [``"cuda"``, functions, source], …
    after: …, ``"cuda"``, n', [``"cubin"``, functions, binary], …

    Parameters
    ----------
    packed : bytes
        As ``runtime.ModulePackImportsToTensor`` returns it: the length of the rest, then
        the modules. Each is its kind and its content; every string begins with its length
        as 64 bits, little-endian (src/target/codegen.cc, src/backend/cuda/runtime/cuda_module.cc).
    source, binary : bytes
        What the CUDA module holds, and shall hold.
    """
    text = _string(source)
    if packed.count(text) != 1:
        raise AssertionError("TVM packs the source of a CUDA module otherwise than it did")
    end = packed.index(text) + len(text)
    kind = _string(_KIND)
    at = packed.index(kind)
    while True:  # the kind whose content ends where the source does
        (size,) = struct.unpack_from("<Q", packed, at + len(kind))
        begin = at + len(kind) + 8
        if begin + size == end:
            break
        at = packed.index(kind, at + 1)
    functions = packed[begin : end - len(text)].removeprefix(_string(_SOURCE))
    content = _string(_BINARY) + functions + _string(binary)
    modules = packed[8 : at + len(kind)] + _string(content) + packed[end:]
    return _string(modules)


def _string(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def _device_module(executable: Any) -> Any:
    """Find the CUDA module below the virtual machine's executable and the host code."""
    for part in executable.imports:
        if part.kind == "cuda":
            return part
        if found := _device_module(part):
            return found
    return None


@contextmanager
def _source_kept() -> Iterator[None]:
    """Let TVM keep device code as text, also where it could compile it for the GPU here."""
    before = os.environ.get(_FALLBACK)
    os.environ[_FALLBACK] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FALLBACK]
        else:
            os.environ[_FALLBACK] = before
