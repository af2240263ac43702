"""From kernels scheduled for CUDA to one shared object: host code, machine code, weights.

TVM leaves device code as source text where it has no GPU, for the machine that loads the
file to compile. Here nvcc compiles it now, and its cubin takes the text's place in TVM's own
format: whoever loads the file needs no compiler, and learns of its registers from the manifest.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax

from tvm_mobilenet.graph.codegen import to_virtual_machine
from tvm_mobilenet.graph.cuda_graph import Captured, capture
from tvm_mobilenet.graph.emit import ENTRY
from tvm_mobilenet.graph.pipeline import Lowered
from tvm_mobilenet.graph.plan_memory import plan_memory
from tvm_mobilenet.graph.reading import array_of, is_constant
from tvm_mobilenet.graph.tir_pipeline import DEVICE
from tvm_mobilenet.network.memory import MemoryPlan
from tvm_mobilenet.scratch import scratch
from tvm_mobilenet.sources import imports_source, manifest_source
from tvm_mobilenet.target import TargetSpec
from tvm_mobilenet.toolchain import Linker
from tvm_mobilenet.toolchain_cuda import Cubin, Nvcc

_KIND, _SOURCE, _BINARY = b"cuda", b"cuda", b"cubin"
_PAGE = 4096  # what TVM's pooled allocator gives out
_FALLBACK = "TVM_COMPILE_FORCE_FALLBACK"


@dataclass(frozen=True, slots=True)
class CudaCode:
    """A network compiled, not yet in a file.

    Attributes
    ----------
    plan : MemoryPlan
        Of one call's activations, on the device.
    captured : Captured
        How the network is launched.
    cubin : Cubin
        The kernels.
    weight_bytes : int
        Constants on the device.
    input_bytes : int
    source : str
        The kernels in CUDA C++.
    executable : tvm.runtime.Executable
        Host code and bytecode, with `source`.
    """

    plan: MemoryPlan
    captured: Captured
    cubin: Cubin
    weight_bytes: int
    input_bytes: int
    source: str
    executable: Any

    def to_dict(self) -> dict[str, Any]:
        """Return what a manifest says of it.

        Returns
        -------
        dict
            ``memory_bytes`` that weights, maps, input and outputs take; ``outputs``, shape
            and dtype of each; ``graphs``, the kernels' calls in each captured graph;
            ``outside``, those launched by themselves; ``kernels``, what each takes of a
            multiprocessor.
        """
        return {
            "memory_bytes": self.weight_bytes + self.input_bytes + self.plan.activation_bytes,
            "outputs": [
                {"shape": list(shape), "dtype": dtype} for shape, dtype in self.captured.outputs
            ],
            "graphs": list(self.captured.graphs),
            "outside": self.captured.outside,
            "kernels": {name: used.to_dict() for name, used in self.cubin.resources.items()},
        }

    def export(self, linker: Linker, reserved_bytes: int, output: Path) -> None:
        """Link host code, machine code, weights and an empty manifest.

        Parameters
        ----------
        linker : Linker
            For the host's machine.
        reserved_bytes : int
            Size of the manifest's section.
        output : Path
            Shared object to write.

        Raises
        ------
        ToolchainError, OutputError
            The linker failed.
        """

        def pack(module: Any, _system: bool, _prefix: str, folder: str) -> str:
            packed = tvm.get_global_func("runtime.ModulePackImportsToTensor")(module)
            blob, text = Path(folder) / "imports.bin", Path(folder) / "imports.c"
            blob.write_bytes(
                with_binary(packed.numpy().tobytes(), self.source.encode(), self.cubin.code)
            )
            text.write_text(imports_source(blob))
            return str(text)

        with scratch() as folder:
            manifest = Path(folder) / "artifact.c"
            manifest.write_text(manifest_source(reserved_bytes))

            def link(linked: str, objects: Sequence[str], **_: object) -> None:
                linker.link([*objects, manifest], linked)

            self.executable.export_library(str(output), fcompile=link, fpack_imports=pack)


def generate_cuda(lowered: Lowered, target: TargetSpec, nvcc: Nvcc) -> CudaCode:
    """Generate code for GPU and host. No driver is asked anything.

    Parameters
    ----------
    lowered : Lowered
    target : TargetSpec
        With a CUDA GPU.
    nvcc : Nvcc

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
    return CudaCode(plan, captured, cubin, *_sizes(planned[ENTRY]), source, executable)


def _sizes(func: Any) -> tuple[int, int]:
    """Count the bytes of a function's constants, as they are allocated, and of its parameters."""
    constants: dict[bytes, int] = {}

    def visit(node: Any) -> None:
        if is_constant(node) and isinstance(node.ty, relax.TensorType):
            data = array_of(node)
            constants[data.tobytes()] = -(-data.nbytes // _PAGE) * _PAGE

    relax.analysis.post_order_visit(func.body, visit)
    shapes = [([int(n) for n in v.ty.shape.values], str(v.ty.dtype)) for v in func.params]
    taken = sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in shapes)
    return sum(constants.values()), taken


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
