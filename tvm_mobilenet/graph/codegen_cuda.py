"""From kernels scheduled for CUDA to one shared object: host code, machine code, weights.

TVM leaves device code as source text where it has no GPU, for the machine that loads the
file to compile. Here nvcc compiles it now, and its cubin takes the text's place in TVM's own
format: whoever loads the file needs no compiler, and learns of its registers from the manifest.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm

from tvm_mobilenet.graph.codegen import to_virtual_machine
from tvm_mobilenet.graph.cuda_graph import Captured, capture
from tvm_mobilenet.graph.pipeline import Lowered
from tvm_mobilenet.graph.plan_memory import MemoryPlan, plan_memory
from tvm_mobilenet.sources import imports_source, manifest_source
from tvm_mobilenet.target import TargetSpec
from tvm_mobilenet.toolchain import Linker
from tvm_mobilenet.toolchain_cuda import Cubin, Nvcc

_KIND, _SOURCE, _BINARY = b"cuda", b"cuda", b"cubin"
_FALLBACK = "TVM_COMPILE_FORCE_FALLBACK"


@dataclass(frozen=True, slots=True)
class CudaCode:
    """What was generated.

    Attributes
    ----------
    plan : MemoryPlan
        Of one call's activations, on the device.
    captured : Captured
        How the network is launched.
    cubin : Cubin
        The kernels.
    """

    plan: MemoryPlan
    captured: Captured
    cubin: Cubin


def generate_cuda(
    lowered: Lowered,
    target: TargetSpec,
    linker: Linker,
    nvcc: Nvcc,
    reserved_bytes: int,
    output: Path,
) -> CudaCode:
    """Generate code for GPU and host, and link it. No driver is asked anything.

    Parameters
    ----------
    lowered : Lowered
    target : TargetSpec
        With a CUDA GPU.
    linker : Linker
        For the host's machine.
    nvcc : Nvcc
    reserved_bytes : int
        Size of the manifest's section.
    output : Path
        Shared object to write.

    Raises
    ------
    ToolchainError, OutputError
        nvcc or the linker failed.
    """
    assert target.gpu is not None
    planned, plan = plan_memory(lowered.mod)
    entries, captured = capture(planned)
    with _source_kept():
        executable = tvm.compile(
            entries,
            target=tvm.target.Target(target.tvm_dict()),
            relax_pipeline=to_virtual_machine(),
        )
    source = _device_module(executable.mod).inspect_source("cuda")
    cubin = nvcc.cubin(str(source), target.gpu.arch)

    def pack(module: Any, _system: bool, _prefix: str, folder: str) -> str:
        packed = tvm.get_global_func("runtime.ModulePackImportsToTensor")(module)
        blob, text = Path(folder) / "imports.bin", Path(folder) / "imports.c"
        blob.write_bytes(with_binary(packed.numpy().tobytes(), str(source).encode(), cubin.code))
        text.write_text(imports_source(blob))
        return str(text)

    with tempfile.TemporaryDirectory(prefix="tvm_mobilenet-") as folder:
        manifest = Path(folder) / "artifact.c"
        manifest.write_text(manifest_source(reserved_bytes))

        def link(linked: str, objects: Sequence[str], **_: object) -> None:
            linker.link([*objects, manifest], linked)

        executable.export_library(str(output), fcompile=link, fpack_imports=pack)
    return CudaCode(plan, captured, cubin)


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
