"""From scheduled kernels to code, for the virtual machine and for C, weights in ``.rodata``."""

from __future__ import annotations

import logging
from typing import Any

import tvm
from tvm import relax

from tvm_mobilenet.artifact.blob import Blob
from tvm_mobilenet.artifact.linking import Code, Door
from tvm_mobilenet.artifact.sources import weights_source
from tvm_mobilenet.emit.relax.embed_weights import embed_weights
from tvm_mobilenet.emit.relax.emit import ENTRY
from tvm_mobilenet.emit.relax.pipeline import Lowered
from tvm_mobilenet.emit.relax.plan_memory import plan_memory
from tvm_mobilenet.emit.relax.read_calls import read_calls
from tvm_mobilenet.emit.relax.workspace import scratch_bytes
from tvm_mobilenet.errors import CodegenError
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.machine.llvm import generating
from tvm_mobilenet.network.memory import MemoryPlan

_log = logging.getLogger(__name__)


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


def generate(lowered: Lowered, target: TargetSpec, prefix: str) -> tuple[Code, MemoryPlan]:
    """Generate code for a processor.

    Parameters
    ----------
    lowered : Lowered
        Its kernels are scheduled for `target`.
    target : TargetSpec
        Without a GPU.
    prefix : str
        What the names of its C functions begin with.

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
    door = _door(embedded, weights, lowered, prefix)
    with generating(target):
        executable = tvm.compile(
            embedded,
            target=tvm.target.Target(target.tvm_dict()),
            relax_pipeline=to_virtual_machine(),
        )
    embedding = ((weights_source, bytes(weights)),)
    return Code("vm", embedding, export=executable.export_library, door=door), plan


def _door(embedded: Any, weights: Blob, lowered: Lowered, prefix: str) -> Door | None:
    """Return what the C interface calls; None where only the virtual machine can call it."""
    try:
        calls = read_calls(embedded[ENTRY], weights.place)
    except CodegenError as error:
        _log.info("no C interface: %s", error.what)
        return None
    return Door(calls, scratch_bytes(lowered.mod), prefix)
