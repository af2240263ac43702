"""Our operators as Relay knows them, and the strategy by which it schedules them.

One Relay operator for each operator of :mod:`tvm_mobilenet.compute`. Its strategy has one
implementation: the shared TE definition, scheduled by :mod:`tvm_mobilenet.schedules.te`. It is
opaque to Relay's fusion, because its epilogue is inside already.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm import relay

from tvm_mobilenet.compute.inputs import given
from tvm_mobilenet.compute.primfunc import define
from tvm_mobilenet.machine import TargetSpec
from tvm_mobilenet.operators.ahead import Ahead
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.schedules.knobs import KnobError, Knobs
from tvm_mobilenet.schedules.te.definition import Definition
from tvm_mobilenet.schedules.te.rules import TE, TE_GPU, schedule

KnobsFor = Callable[[str], "Mapping[str, int | str] | None"]
"""From a workload's key to the knobs recorded for it, None where there are none."""

PREFIX = "tvm_mobilenet."
_OPAQUE = 8  # relay::OpPatternKind::kOpaque


@dataclass(slots=True)
class Choices:
    """Where the schedules of one build take their knobs from, and what they took.

    Attributes
    ----------
    knobs_for : callable
        Where recorded knobs come from.
    taken : dict of str to Knobs
        By workload key.
    notes : list of str
        Records that do not fit.
    defined : dict of te.Tensor to Definition
        By output: what Relay asked to be computed, and asks to be scheduled next.
    """

    target: TargetSpec
    knobs_for: KnobsFor
    taken: dict[str, Knobs] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    defined: dict[Any, Definition] = field(default_factory=dict)


_building: list[Choices] = []


@contextmanager
def building(choices: Choices) -> Iterator[None]:
    """Let Relay's strategy of our operators choose as `choices` says."""
    _building.append(choices)
    try:
        yield
    finally:
        _building.pop()


def call(work: Workload, arguments: Sequence[Any], ahead: Sequence[tuple[Ahead, Any]] = ()) -> Any:
    """Return a Relay call of the operator of a workload.

    Parameters
    ----------
    arguments : sequence of relay.Expr
        As the definition lists its inputs.
    ahead : sequence of (Ahead, relay.Expr)
        Weights of later kernels, which it prefetches.
    """
    register()
    pieces = json.dumps([piece.numbers for piece, _ in ahead])
    attrs = tvm.ir.make_node("DictAttrs", work=work.text, ahead=pieces)
    every = [*arguments, *(weights for _, weights in ahead)]
    return relay.Call(relay.op.get(PREFIX + work.operator), every, attrs)


def out_shape(work: Workload) -> tuple[int, ...]:
    """Return the shape that an operator writes: blocks, or NC."""
    if OPERATORS[work.operator].writes_plain:
        return (work.batch, work.out_channels)
    return (work.batch, work.out_blocks, work.out_pixels, work.out_block)


@functools.cache
def register() -> None:
    """Register every operator that has a TE schedule, once for this process."""
    for operator in TE | TE_GPU:
        name = PREFIX + operator
        relay.op.op.register(name, f"{operator} on blocked maps, see tvm_mobilenet.compute")
        op = relay.op.get(name)
        op.set_attrs_type_key("DictAttrs")
        op.set_support_level(1)
        op.add_type_rel(name, _type)
        relay.op.op.register_pattern(name, _OPAQUE)
        relay.op.op.register_stateful(name, False)
        relay.op.op.register_strategy(name, _strategy_of(operator))


def _type(arguments: Any, attrs: Any) -> Any:
    """Return the type of a call: Relay's type relation for all of our operators."""
    work = Workload.parse(attrs["work"])
    dtype = "float32" if OPERATORS[work.operator].writes_plain else work.dtype
    return relay.TensorType(out_shape(work), dtype)


def _strategy_of(operator: str) -> Any:
    def strategy(attrs: Any, inputs: Any, out_type: Any, target: Any) -> Any:
        found = relay.op.OpStrategy()
        found.add_implementation(_compute, _schedule, name=f"te.{operator}")
        return found

    return tvm.target.override_native_generic_func(f"{PREFIX}{operator}.strategy")(strategy)


def _compute(attrs: Any, inputs: Any, _out_type: Any) -> list[Any]:
    work, pieces = Workload.parse(attrs["work"]), json.loads(attrs["ahead"])
    count = len(inputs) - len(pieces)
    with given(inputs[:count]):
        tensors = define(work)
    found = Definition(tensors, work, inputs[count:], pieces)
    _building[-1].defined[found.out] = found
    return [found.out]


def _schedule(_attrs: Any, outs: Any, _target: Any) -> Any:
    choices = _building[-1]
    definition = choices.defined[outs[0]]
    work = definition.work
    recorded = choices.knobs_for(work.key)
    knobs = Knobs(recorded)
    try:
        found = schedule(definition, choices.target, knobs)
    except KnobError as error:
        if recorded is None:
            raise
        choices.notes.append(f"the record of {work.key}: {error.what}; the rule is used instead")
        knobs = Knobs()
        found = schedule(definition, choices.target, knobs)
    choices.taken[work.key] = knobs
    return found
