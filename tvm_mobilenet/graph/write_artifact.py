"""From a lowered network to its file: each kind of target has its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tvm_mobilenet.graph.codegen import generate
from tvm_mobilenet.graph.codegen_cuda import generate_cuda
from tvm_mobilenet.graph.launch_plan import launch_plan
from tvm_mobilenet.graph.pipeline import Lowered
from tvm_mobilenet.launches import write_container
from tvm_mobilenet.network.memory import MemoryPlan
from tvm_mobilenet.sources import LAUNCHES
from tvm_mobilenet.target import TargetSpec
from tvm_mobilenet.toolchain import Linker
from tvm_mobilenet.toolchain_cuda import Nvcc

_ROOM = 2
"""The manifest's section, in sizes of the manifest before verification."""


def write_artifact(
    manifest: dict[str, Any],
    lowered: Lowered,
    target: TargetSpec,
    tools: tuple[Linker, Nvcc | None],
    output: Path,
) -> MemoryPlan:
    """Generate code and link it, with room for the manifest.

    Parameters
    ----------
    manifest : dict
        What is known so far; what only code generation knows is added: ``gpu`` of a CUDA
        artifact, ``plan`` of one for OpenCL or Metal.
    lowered : Lowered
    target : TargetSpec
    tools : Linker, Nvcc or None
        For the host's machine; what compiles CUDA, where that is the target.
    output : Path
        Shared object to write.

    Returns
    -------
    MemoryPlan
        Of one call's activations.

    Raises
    ------
    TargetError, CodegenError
        TVM cannot generate code for the target, or for a kernel on it.
    ToolchainError, OutputError
        The linker or nvcc failed.
    """
    linker, nvcc = tools
    if nvcc is not None:
        code = generate_cuda(lowered, target, nvcc)
        manifest["gpu"] = code.to_dict()
        code.export(linker, _room(manifest), output)
        return code.plan
    if target.gpu is None:
        return generate(lowered, target, linker, _room(manifest), output)
    plan = launch_plan(lowered, target)
    manifest.update(stack=LAUNCHES, plan=plan.container.plan)
    write_container(plan.container, linker, _room(manifest), output)
    return plan.memory


def _room(manifest: Mapping[str, Any]) -> int:
    """Return the bytes to reserve for a manifest that still grows."""
    return _ROOM * len(str(manifest)) + 4096
