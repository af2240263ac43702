"""From scheduled kernels to one shared object, its manifest still empty."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from tvm_mobilenet.errors import TargetError
from tvm_mobilenet.graph.build import ENTRY
from tvm_mobilenet.graph.embed_weights import embed_weights
from tvm_mobilenet.graph.pipeline import Lowered
from tvm_mobilenet.sources import manifest_source, weights_source
from tvm_mobilenet.target import TargetSpec
from tvm_mobilenet.toolchain import Linker


def plan_memory(mod: Any) -> Any:
    """Give every activation its place: from ``call_tir`` to calls on shared storage.

    Parameters
    ----------
    mod : IRModule

    Returns
    -------
    IRModule
    """
    return tvm.transform.Sequential(
        [
            relax.transform.RewriteDataflowReshape(),
            relax.transform.ToNonDataflow(),
            relax.transform.RemovePurityChecking(),
            relax.transform.CallTIRRewrite(),
            relax.transform.StaticPlanBlockMemory(),
        ]
    )(mod)


def activation_bytes(planned: Any) -> int:
    """Return the bytes of storage that one run allocates for activations.

    Parameters
    ----------
    planned : IRModule
        From :func:`plan_memory`.
    """
    storage = tvm.ir.Op.get("relax.memory.alloc_storage")
    tensor = tvm.ir.Op.get("relax.builtin.alloc_tensor")
    total = 0
    for block in planned[ENTRY].body.blocks:
        for binding in block.bindings:
            value = binding.value
            if not isinstance(value, relax.Call):
                continue
            if value.op.same_as(storage):
                total += math.prod(int(size) for size in value.args[0].values)
            elif value.op.same_as(tensor):  # the output, float32
                total += 4 * math.prod(int(size) for size in value.args[0].values)
    return total


def _to_virtual_machine() -> Any:
    """Return the passes from planned memory to the virtual machine's builtins."""
    return tvm.transform.Sequential(
        [
            relax.transform.LowerAllocTensor(),
            relax.transform.KillAfterLastUse(),
            relax.transform.LowerRuntimeBuiltin(),
            relax.transform.ComputePrimValue(),
            relax.transform.VMShapeLower(),
            relax.transform.AttachGlobalSymbol(),
        ]
    )


def generate(
    lowered: Lowered, target: TargetSpec, linker: Linker, reserved_bytes: int, output: Path
) -> int:
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
    int
        Bytes of activations that one run allocates.

    Raises
    ------
    TargetError
        LLVM refuses the target.
    ToolchainError, OutputError
        The linker failed.
    """
    planned = plan_memory(lowered.mod)
    embedded, weights = embed_weights(planned)
    try:
        executable = tvm.compile(
            embedded,
            target=tvm.target.Target(target.tvm_dict()),
            relax_pipeline=_to_virtual_machine(),
        )
    except tvm.TVMError as error:
        if "LLVM" in str(error) and "target" in str(error).lower():
            raise TargetError(
                f"LLVM cannot generate code for {target.name}: {str(error).splitlines()[-1]}",
                "check the triple, --mcpu and --mattr",
            ) from error
        raise
    with tempfile.TemporaryDirectory(prefix="tvm_mobilenet-") as folder:
        blob, source = Path(folder) / "weights.bin", Path(folder) / "artifact.c"
        blob.write_bytes(weights)
        source.write_text(manifest_source(reserved_bytes) + weights_source(blob))

        def link(linked: str, objects: Sequence[str], **_: object) -> None:
            linker.link([*objects, source], linked)

        executable.export_library(str(output), fcompile=link)
    return activation_bytes(planned)
