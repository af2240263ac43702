"""From a lowered network to its file: each kind of target has its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvm_mobilenet.artifact.linking import write
from tvm_mobilenet.artifact.toolchain import Linker
from tvm_mobilenet.artifact.toolchain_cuda import Nvcc
from tvm_mobilenet.emit.relax.codegen import generate
from tvm_mobilenet.emit.relax.codegen_cuda import generate_cuda
from tvm_mobilenet.emit.relax.launch_plan import generate_launches
from tvm_mobilenet.emit.relax.pipeline import Lowered
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.network.memory import MemoryPlan


def write_artifact(
    manifest: dict[str, Any],
    lowered: Lowered,
    target: TargetSpec,
    tools: tuple[Linker | None, Nvcc | None],
    output: Path,
    *,
    prefix: str,
    alone: Path | None = None,
) -> MemoryPlan:
    """Generate code and link it, with room for the manifest.

    Parameters
    ----------
    manifest : dict
        What is known so far; what only code generation knows is added.
    lowered : Lowered
        Its kernels are scheduled for `target`.
    target : TargetSpec
        Its GPU decides the kind of container.
    tools : Linker or None, Nvcc or None
        For the host's machine, None where only the manifest is wanted; what compiles CUDA,
        where that is the target.
    output : Path
        Shared object to write.
    prefix : str
        What the names of its C functions begin with, where it has some.
    alone : Path, optional
        Where to write what is linked into programs, see :meth:`artifact.linking.Code.link`.

    Returns
    -------
    MemoryPlan
        Where the activations of one call are.

    Raises
    ------
    TargetError, CodegenError
        TVM cannot generate code for the target, or for a kernel on it.
    ToolchainError, OutputError
        The linker or nvcc failed.
    """
    linker, nvcc = tools
    if nvcc is not None:
        code, memory = generate_cuda(lowered, target, nvcc)
    elif target.gpu is not None:
        code, memory = generate_launches(lowered, target)
    else:
        code, memory = generate(lowered, target, prefix)
    write(manifest, code, linker, output, alone)
    return memory
