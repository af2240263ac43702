"""The memory of a plan's activations, known before there is any code."""

from __future__ import annotations

from tvm_mobilenet.models.spec import INPUT
from tvm_mobilenet.network.memory import MemoryPlan, Tensor, place
from tvm_mobilenet.network.plan import NetworkPlan


def memory_of(plan: NetworkPlan) -> MemoryPlan | None:
    """Plan the storages of a network's activations.

    Returns
    -------
    MemoryPlan or None
        None where TVM decides: on the classic stack; and about kernels, and so tensors between
        them, for layers that are none of ours and where a map has to change its layout.
    """
    if plan.stack != "relax":
        return None
    if len(plan.calls) < len(plan.steps) or not _without_conversions(plan):
        return None
    # A call's output is there before it, and after the last call that reads it.
    reads = {name: 2 * at + 1 for at, call in enumerate(plan.calls) for name in call.sources}
    tensors, returned = [], 0
    for at, call in enumerate(plan.calls):
        value = call.output
        if value.name in plan.model.outputs:
            returned += value.bytes
        else:
            tensors.append(Tensor(value.name, value.bytes, 2 * at, reads[value.name]))
    return MemoryPlan(tuple(tensors), tuple(place(tensors)), returned)


def _without_conversions(plan: NetworkPlan) -> bool:
    """Whether every value is read as it was written, and given to the caller as it lies."""
    blocks = {INPUT: 0} | {call.output.name: call.output.block for call in plan.calls}
    read = all(blocks[value.name] == value.block for call in plan.calls for value in call.reads)
    return read and not any(blocks[name] for name in plan.model.outputs)
