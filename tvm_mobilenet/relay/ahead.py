"""Kernels with time to spare prefetch the weights of later ones, as the main stack's do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tvm import relay

from tvm_mobilenet.operators.ahead import Ahead
from tvm_mobilenet.prediction.ahead import WAITING, plan_ahead
from tvm_mobilenet.relay import operators
from tvm_mobilenet.relay.lowered import Call
from tvm_mobilenet.target import TargetSpec


def with_ahead(func: Any, calls: Sequence[Call], target: TargetSpec) -> tuple[Any, list[Call]]:
    """Give kernels a share of the weights that later ones would wait for (ADR 0012).

    before: ``y = tvm_mobilenet.pointwise(x, weight, bias)``
    after: ``y = tvm_mobilenet.pointwise(x, weight, bias, classifier_weight)``

    Parameters
    ----------
    func : relay.Function
    calls : sequence of Call
        All in it, in the order of execution.
    target : TargetSpec

    Returns
    -------
    relay.Function, list of Call
    """
    plan = plan_ahead([(call.work, _own(call), _late(call)) for call in calls], target)
    hosts: dict[Any, tuple[Call, list[tuple[Ahead, Any]]]] = {}
    for call, pieces in zip(calls, plan, strict=True):
        waiting = [(piece, calls[at]) for piece, at in pieces]
        found = [(piece, late.expr.args[WAITING[late.work.operator]]) for piece, late in waiting]
        if found:
            hosts[call.expr] = (call, found)
    changer = _Changer(hosts)
    return changer.visit(func), [replace(call, expr=changer.visit(call.expr)) for call in calls]


def _weights(call: Call) -> list[tuple[int, ...]]:
    variables = [argument for argument in call.expr.args if isinstance(argument, relay.Var)]
    return [tuple(map(int, var.type_annotation.shape)) for var in variables]


def _own(call: Call) -> int:
    """Return the bytes of a kernel's weights."""
    return 4 * sum(map(math.prod, _weights(call)))


def _late(call: Call) -> tuple[int, ...] | None:
    """Return the shape of the weights that a kernel may wait for."""
    at = WAITING.get(call.work.operator)
    if at is None or not isinstance(call.expr.args[at], relay.Var):
        return None
    return tuple(map(int, call.expr.args[at].type_annotation.shape))


class _Changer(relay.ExprMutator):  # type: ignore[misc]
    """Replaces the hosts' calls."""

    def __init__(self, hosts: dict[Any, tuple[Call, list[tuple[Ahead, Any]]]]) -> None:
        super().__init__()
        self._hosts = hosts

    def visit_call(self, call: Any) -> Any:
        """Rebuild one call."""
        if call not in self._hosts:
            return super().visit_call(call)
        host, ahead = self._hosts[call]
        return operators.call(host.work, [self.visit(argument) for argument in call.args], ahead)
