"""From scheduled kernels to one shared object, its manifest still empty."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from tvm_mobilenet.graph.embed_weights import embed_weights
from tvm_mobilenet.graph.pipeline import Lowered
from tvm_mobilenet.graph.plan_memory import plan_memory
from tvm_mobilenet.network.memory import MemoryPlan
from tvm_mobilenet.scratch import scratch
from tvm_mobilenet.sources import manifest_source, weights_source
from tvm_mobilenet.target import TargetSpec
from tvm_mobilenet.target.llvm import generating
from tvm_mobilenet.toolchain import Linker


def to_virtual_machine() -> Any:
    """Return the passes from planned memory to the virtual machine's builtins.

    Without KillAfterLastUse: the plan has shared what could be, and an instruction less for
    each tensor is a microsecond less for each call.
    """
    return tvm.transform.Sequential(
        [
            relax.transform.LowerAllocTensor(),
            relax.transform.LowerRuntimeBuiltin(),
            relax.transform.ComputePrimValue(),
            relax.transform.VMShapeLower(),
            relax.transform.AttachGlobalSymbol(),
        ]
    )


def generate(
    lowered: Lowered, target: TargetSpec, linker: Linker, reserved_bytes: int, output: Path
) -> MemoryPlan:
    """Generate code and link it.

    Parameters
    ----------
    lowered : Lowered
    target : TargetSpec
    linker : Linker
        For the target's machine.
    reserved_bytes : int
        Size of the manifest's section.
    output : Path
        Shared object to write.

    Returns
    -------
    MemoryPlan
        Of one call's activations.

    Raises
    ------
    TargetError
        LLVM refuses the target.
    ToolchainError, OutputError
        The linker failed.
    """
    planned, plan = plan_memory(lowered.mod)
    embedded, weights = embed_weights(planned)
    with generating(target):
        executable = tvm.compile(
            embedded,
            target=tvm.target.Target(target.tvm_dict()),
            relax_pipeline=to_virtual_machine(),
        )
    with scratch() as folder:
        blob, source = Path(folder) / "weights.bin", Path(folder) / "artifact.c"
        blob.write_bytes(weights)
        source.write_text(manifest_source(reserved_bytes) + weights_source(blob))

        def link(linked: str, objects: Sequence[str], **_: object) -> None:
            linker.link([*objects, source], linked)

        executable.export_library(str(output), fcompile=link)
    return plan
