"""From a model to what will run: every decision, in its order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import cast

from tvm_mobilenet.common.stacks import Stack
from tvm_mobilenet.errors import QuantizationError
from tvm_mobilenet.machine import Dtype, TargetSpec
from tvm_mobilenet.models.quantized.model import Quantization, QuantizedModel
from tvm_mobilenet.models.quantized.storing import stored_as
from tvm_mobilenet.models.spec import INPUT, Model
from tvm_mobilenet.models.tensors import TensorType
from tvm_mobilenet.network.cache_contexts import CacheContexts
from tvm_mobilenet.network.fusion import decide
from tvm_mobilenet.network.integers import elements_for
from tvm_mobilenet.network.meeting import met
from tvm_mobilenet.network.plan import Call, Decision, Foreign, KernelPlan, NetworkPlan, Value
from tvm_mobilenet.network.units import Readers, Unit, in_blocks, units_of
from tvm_mobilenet.network.views import through_views
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import Operator, Workload
from tvm_mobilenet.prediction.ahead import plan_ahead
from tvm_mobilenet.prediction.fusion import Choice, Fusion, FusionFor, join
from tvm_mobilenet.schedules.knobs import KnobError, Knobs
from tvm_mobilenet.schedules.plans import Plan, plan, plans_for

KnobsFor = Callable[[str], "Mapping[str, int | str] | None"]
"""From a workload's key to the knobs recorded for it, None where there are none."""


def plan_network(
    model: Model,
    target: TargetSpec,
    *,
    stack: Stack = "relax",
    knobs_for: KnobsFor = lambda _: None,
    fusion: Fusion = "auto",
    fusion_for: FusionFor = lambda _: None,
    records: Mapping[str, Quantization] = MappingProxyType({}),
) -> NetworkPlan:
    """Plan a network.

    Parameters
    ----------
    target : TargetSpec
        Lanes make the blocks; caches and cores decide what is fused and prefetched.
    stack : {"relax", "relay"}
        Whose schedules there are.
    knobs_for : callable
        Recorded knobs of the key of :attr:`Workload.tuned`. Those that do not fit the schedule
        are not used, and the kernel's note says why.
    fusion : {"auto", "all", "none"}
        Which layers share a kernel: as measured or by rule, all that can, none.
    fusion_for : callable
        Measured answer for the key of a shared kernel's workload, or None.
    records : mapping of str to Quantization
        The layers that compute in integers, and how: see
        :class:`tvm_mobilenet.models.quantized.model.QuantizedModel`.

    Raises
    ------
    QuantizationError
        There is no kernel in integers for such a layer, or none for the target or the stack.
    """
    plans = plans_for(target, stack)
    network = _in_integers(model, records, target, stack)
    units = units_of(model, target, plans.keys(), network)
    if network is not None:
        units = met(units, model)
    units, unread = through_views(model, units, target, plans.keys())
    contexts = CacheContexts.of(model, units)
    decisions = decide(
        *(model, units, contexts, target),
        operators=plans.keys(),
        fusion=fusion,
        fusion_for=fusion_for,
    )
    steps: list[Call | Foreign] = _steps(model, units, unread, decisions, target, network)
    calls = [step for step in steps if isinstance(step, Call)]
    if target.gpu is None and target.dtype == "float32":
        ahead = iter(plan_ahead([call.work for call in calls], target))
        steps = [
            replace(step, ahead=tuple(next(ahead))) if isinstance(step, Call) else step
            for step in steps
        ]
    works = {call.work.key: call.work for call in calls}
    kernels = {
        key: plan_kernel(work, target, plans, knobs_for(work.tuned.key))
        for key, work in works.items()
    }
    return NetworkPlan(
        model, target, stack, tuple(steps), kernels, tuple(decisions), contexts, network
    )


def _in_integers(
    model: Model, records: Mapping[str, Quantization], target: TargetSpec, stack: Stack
) -> QuantizedModel | None:
    """Return what computes in integers, stored as the target's kernels store it."""
    if not records:
        return None
    check_integers(target, stack)
    return stored_as(QuantizedModel(model, records), elements_for(target))


def check_integers(target: TargetSpec, stack: Stack) -> None:
    """Refuse a network in integers where there are no kernels for one.

    Raises
    ------
    QuantizationError
        The target is a GPU, or the stack is the classic one.
    """
    if target.gpu is not None or stack != "relax":
        where = f"{target.name} is a GPU" if target.gpu is not None else f"the {stack} stack"
        raise QuantizationError(
            f"there are no kernels in integers here ({where})",
            "compile with the main stack for a processor, or give the float32 network",
        )


def unplanned(model: Model, target: TargetSpec) -> NetworkPlan:
    """Return a plan without kernels of ours: what TVM makes of a network by itself."""
    steps, contexts = tuple(map(Foreign, model.layers)), CacheContexts.of(model, ())
    return NetworkPlan(model, target, "relax", steps, {}, (), contexts)


def plan_kernel(
    work: Workload,
    target: TargetSpec,
    plans: Mapping[Operator, Plan],
    recorded: Mapping[str, int | str] | None,
) -> KernelPlan:
    """Settle a kernel's knobs: the recorded ones if they fit, else by rule, and say why."""
    knobs = Knobs(recorded)
    note = ""
    try:
        if not work.written and knobs.trace() is not None:
            knobs.finish()
        else:
            plan(work, knobs, target, plans)
    except KnobError as error:
        if recorded is None:
            raise
        knobs, note = Knobs(), f"{error.what}; the rule is used instead"
        plan(work, knobs, target, plans)
    silent = sorted(set(knobs.chosen) - set(recorded)) if recorded is not None and not note else []
    if silent:
        note = f"it does not say {', '.join(silent)}: there the rule is used"
    return KernelPlan(work, dict(knobs.chosen), knobs.source, note)


def _steps(  # noqa: PLR0917  what is decided, in its order
    model: Model,
    units: Sequence[Unit],
    unread: Collection[str],
    decisions: Sequence[Decision],
    target: TargetSpec,
    network: QuantizedModel | None,
) -> list[Call | Foreign]:
    """List the calls, each where its last layer stands, and foreign layers between them."""
    groups: dict[str, tuple[Unit, ...]] = {unit.name: (unit,) for unit in units}
    choices: dict[str, Choice] = {}
    fused: dict[str, Operator] = {}
    for decision in decisions:
        *inside, last = decision.units
        choices[last.name] = decision.choice
        if decision.choice.fused:
            fused[last.name] = decision.operator
            groups[last.name] = decision.units
            for unit in inside:
                del groups[unit.name]
    readers = Readers(model)
    covered = {layer.name for unit in units for layer in unit.layers}
    steps: list[Call | Foreign] = []
    for layer in model.layers:
        if (group := groups.get(layer.name)) is not None:
            name = group[-1].name
            if name in fused:
                work = join(fused[name], [unit.work for unit in group])
            else:
                group = (in_blocks(group[0], readers, target),)
                work = group[0].work
            steps.append(_call(group, work, model, choices.get(name), network))
        elif layer.name not in covered and layer.name not in unread:
            steps.append(Foreign(layer))
    return steps


def _call(
    group: tuple[Unit, ...],
    work: Workload,
    model: Model,
    choice: Choice | None,
    network: QuantizedModel | None,
) -> Call:
    def value(name: str, block: int, stored: str = "") -> Value:
        shape = model.input_shape if name == INPUT else model.layer(name).out_shape
        if network is not None and work.integer:
            of = network.type_of(name)
            numbers = bool(stored) and not of.quantized
            return Value(name, shape, block, TensorType(cast(Dtype, stored)) if numbers else of)
        return Value(name, shape, block, TensorType(work.dtype if block else "float32"))

    first, last, facts = group[0], group[-1], OPERATORS[work.operator]
    kinds = (*work.in_dtypes, "", "")
    source = value(first.source, 0 if facts.reads_plain else work.in_block, kinds[0])
    names, blocks = [name for unit in group for name in unit.others], facts.other_blocks(work)
    blocks += (work.out_block,) * (len(names) - len(blocks))
    others = (value(name, block, kinds[1]) for name, block in zip(names, blocks, strict=False))
    out = value(last.name, 0 if facts.writes_plain else work.out_block, work.out_dtype)
    return Call(group, work, (source, *others), out, choice=choice)
