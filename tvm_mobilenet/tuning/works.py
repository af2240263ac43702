"""What there is to tune in a network: the kernels that a compilation would call."""

from __future__ import annotations

from collections.abc import Mapping

from tvm_mobilenet.bench.peak import times_float32
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.models.quantized.model import Quantization
from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.network.planning import plan_network
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.prediction.fusion import Fusion
from tvm_mobilenet.tuning.generation import generation
from tvm_mobilenet.tuning.runs import Part
from tvm_mobilenet.tuning.store import Found
from tvm_mobilenet.verify.integer_case import UNMADE


def workloads(
    model: Model,
    target: TargetSpec,
    fusion: Fusion,
    found: Found,
    integers: Mapping[str, Quantization],
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
    integers : mapping of str to Quantization
        As `records` of :func:`tvm_mobilenet.network.planning.plan_network`.
    """
    plan = plan_network(
        model,
        target,
        stack=generation().stack,
        fusion=fusion,
        fusion_for=found.fusion_for,
        records=integers,
    )
    works: dict[str, tuple[Workload, int]] = {}
    parts: dict[str, Part] = {}
    for call in plan.calls:
        work = call.work.tuned
        if work.operator in UNMADE:  # its rule chooses
            continue
        key, before = work.key, parts.get(work.key)
        layers = (*(before.layers if before else ()), call.output.name)
        works[key] = (work, len(layers))
        faster = times_float32(target, work.dtype) if target.gpu is None else 1.0
        parts[key] = Part(len(layers), layers, work.macs, call.moved_bytes, {}, faster)
    return works, parts
