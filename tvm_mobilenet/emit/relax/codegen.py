"""From scheduled kernels to the virtual machine's code, weights in ``.rodata``."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from tvm_mobilenet.artifact.linking import Code
from tvm_mobilenet.artifact.sources import weights_source
from tvm_mobilenet.emit.relax.embed_weights import embed_weights
from tvm_mobilenet.emit.relax.pipeline import Lowered
from tvm_mobilenet.emit.relax.plan_memory import plan_memory
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.machine.llvm import generating
from tvm_mobilenet.network.memory import MemoryPlan


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


def generate(lowered: Lowered, target: TargetSpec) -> tuple[Code, MemoryPlan]:
    """Generate code for a processor.

    Parameters
    ----------
    lowered : Lowered
        Its kernels are scheduled for `target`.
    target : TargetSpec
        Without a GPU.

    Returns
    -------
    Code, MemoryPlan
        The latter of one call's activations.

    Raises
    ------
    TargetError
        LLVM refuses the target.
    """
    planned, plan = plan_memory(lowered.mod)
    embedded, weights = embed_weights(planned)
    with generating(target):
        executable = tvm.compile(
            embedded,
            target=tvm.target.Target(target.tvm_dict()),
            relax_pipeline=to_virtual_machine(),
        )
    return Code("vm", ((weights_source, weights),), export=executable.export_library), plan
