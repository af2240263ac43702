"""What there is to tune in a network: the kernels that a compilation would call."""

from __future__ import annotations

from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.prediction.fusion import Fusion
from tvm_mobilenet.tuning.generation import generation
from tvm_mobilenet.tuning.runs import Part
from tvm_mobilenet.tuning.store import Found


def workloads(
    model: Model, target: TargetSpec, fusion: Fusion, found: Found
) -> tuple[dict[str, tuple[Workload, int]], dict[str, Part]]:
    """Return the kernels that a compilation would call, by key: work and calls, and facts.

    The facts are without the rule's knobs: nobody has asked the schedules yet.

    Parameters
    ----------
    model : Model
        The network that is tuned.
    target : TargetSpec
        What it is compiled for.
    fusion : {"auto", "all", "none"}
        As for :func:`tvm_mobilenet.compile`.
    found : Found
        Records that decide about fusion.
    """
    plan = plan_network(
        model, target, stack=generation().stack, fusion=fusion, fusion_for=found.fusion_for
    )
    works: dict[str, tuple[Workload, int]] = {}
    parts: dict[str, Part] = {}
    for call in plan.calls:
        key, before = call.work.key, parts.get(call.work.key)
        layers = (*(before.layers if before else ()), call.output.name)
        works[key] = (call.work, len(layers))
        parts[key] = Part(len(layers), layers, call.work.macs, call.moved_bytes, {})
    return works, parts
