"""What there is to tune in a network: the kernels that a compilation would call."""

from __future__ import annotations

import numpy as np

from tvm_mobilenet.models.spec import Model
from tvm_mobilenet.operators.workload import Workload, workload_key
from tvm_mobilenet.prediction.fusion import Fusion
from tvm_mobilenet.target import TargetSpec
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
    if generation().stack == "relay":
        return _relay_workloads(model, target, fusion, found)
    from tvm_mobilenet.graph.build import ENTRY
    from tvm_mobilenet.graph.pipeline import lower
    from tvm_mobilenet.graph.traffic import traffic

    lowered = lower(
        model,
        {name: np.ones(shape, np.float32) for name, shape in model.parameters.items()},
        target,
        lambda _: None,
        fusion=fusion,
        fusion_for=found.fusion_for,
    )
    found_works = {workload_key(name): work for name, work in lowered.works.items()}
    calls: dict[str, list[str]] = {key: [] for key in found_works}
    moved: dict[str, int] = {}
    for call, tensors in zip(lowered.calls, traffic(lowered.mod, ENTRY), strict=True):
        key = workload_key(call.kernel)
        if key in calls:
            calls[key].append(call.value)
            moved[key] = sum(tensors.values())
    works = {key: (work, len(calls[key])) for key, work in found_works.items() if calls[key]}
    parts = {
        key: Part(count, tuple(calls[key]), work.macs, moved[key], {})
        for key, (work, count) in works.items()
    }
    return works, parts


def _relay_workloads(
    model: Model, target: TargetSpec, fusion: Fusion, found: Found
) -> tuple[dict[str, tuple[Workload, int]], dict[str, Part]]:
    """Return what :func:`workloads` does, of the classic stack."""
    from tvm_mobilenet.relay.build import build
    from tvm_mobilenet.relay.kernels import moved_bytes
    from tvm_mobilenet.relay.lower import lower
    from tvm_mobilenet.schedules.te.rules import operators_of

    ones = {name: np.ones(shape, np.float32) for name, shape in model.parameters.items()}
    built = build(model, ones)
    works: dict[str, tuple[Workload, int]] = {}
    layers: dict[str, list[str]] = {}
    lowered = lower(built.func, target, built.names, fusion, found.fusion_for)
    for call in lowered.calls:
        if call.work.operator in operators_of(target):
            key = call.work.key
            works[key] = (call.work, works.get(key, (call.work, 0))[1] + 1)
            layers.setdefault(key, []).extend(call.layers)
    parts = {
        key: Part(count, tuple(layers[key]), work.macs, count * moved_bytes(work), {})
        for key, (work, count) in works.items()
    }
    return works, parts
