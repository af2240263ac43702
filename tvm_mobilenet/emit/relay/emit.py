"""The plan of a network as a Relay function: calls of our operators, Relay's own between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relay

from tvm_mobilenet.emit.relay import operators
from tvm_mobilenet.emit.relay.foreign import by_relay
from tvm_mobilenet.emit.relay.lowered import Call, Lowered
from tvm_mobilenet.emit.relay.naming import marked
from tvm_mobilenet.models.spec import INPUT, symbol
from tvm_mobilenet.network.fold import packed
from tvm_mobilenet.network.plan import Call as Planned
from tvm_mobilenet.network.plan import Foreign, NetworkPlan, Value
from tvm_mobilenet.operators.facts import OPERATORS

ENTRY_INPUT = "x"
"""Name of the function's one parameter that is no weight."""

Weights = Mapping[str, NDArray[np.float32]]


def emit(plan: NetworkPlan, weights: Weights) -> Lowered:
    """Write a plan as Relay.

    Parameters
    ----------
    plan : NetworkPlan
        For the classic stack.
    weights : mapping of str to ndarray
        Every parameter of the model by its full name.

    Returns
    -------
    Lowered
        ``tvm_mobilenet.pointwise(x, weight, bias)`` on ``[N, C/c, H*W, c]``; what is not ours
        on plain maps. Packed weights are parameters, with the names of their layers.
    """
    model = plan.model
    x = relay.var(ENTRY_INPUT, shape=model.input_shape, dtype=model.input_dtype)
    emitter = _Emitter(plan, weights, x)
    for step in plan.steps:
        if isinstance(step, Foreign):
            emitter.foreign(step)
        else:
            emitter.call(step)
    outputs = [emitter.plain(name) for name in model.outputs]
    body = outputs[0] if len(outputs) == 1 else relay.Tuple(outputs)
    made = relay.Function([x, *emitter.variables.values()], body)
    mod = relay.transform.InferType()(tvm.IRModule.from_expr(made))
    return Lowered(plan, mod, emitter.parameters, emitter.calls)


class _Emitter:
    """Emits the steps of a plan, one after the other.

    Attributes
    ----------
    parameters : dict of str to ndarray
        Packed weights, by the names of their variables.
    calls : list of Call
        Those of our operators.
    """

    def __init__(self, plan: NetworkPlan, weights: Weights, x: Any) -> None:
        self._plan, self._weights = plan, weights
        # An expression, and how it lies in memory: NCHW or NC where nothing is said.
        self._values: dict[str, tuple[Any, Value | None]] = {INPUT: (x, None)}
        self.parameters: dict[str, NDArray[np.float32]] = {}
        self.variables: dict[str, Any] = {}
        self.calls: list[Call] = []
        self._packing: dict[str, list[str]] = {}

    def call(self, call: Planned) -> None:
        """Emit the call of a kernel of ours."""
        data, *others = (self._laid_out(value) for value in call.reads)
        waiting = [(piece, self._plan.calls[at]) for piece, at in call.ahead]
        ahead = [
            (piece, self._packed(late)[OPERATORS[late.work.operator].prefetched])
            for piece, late in waiting
        ]
        expr = operators.call(call.work, [data, *self._packed(call), *others], ahead)
        self._values[call.output.name] = (expr, call.output)
        names = tuple(layer.name for layer in call.layers)
        self.calls.append(Call(call.work, names, expr, call.output.shape))

    def foreign(self, step: Foreign) -> None:
        """Emit a layer that Relay computes, on plain values."""
        layer = step.layer
        inputs = {name: self.plain(name) for name in layer.inputs}
        expr = by_relay(layer, [inputs[name] for name in layer.inputs], self._weights)
        if isinstance(expr, relay.Call):
            expr = marked(expr, layer.name)
        self._values[layer.name] = (expr, None)

    def plain(self, name: str) -> Any:
        """Return a value in NCHW or NC."""
        expr, value = self._values[name]
        if value is None or not value.block:
            return expr
        n, channels, *rest = value.shape
        blocks, pixels = -(-channels // value.block), math.prod(rest)
        expr = relay.transpose(expr, (0, 1, 3, 2))
        expr = relay.reshape(expr, (n, blocks * value.block, pixels))
        if blocks * value.block != channels:
            expr = relay.strided_slice(expr, [0], [channels], axes=[1])
        return relay.reshape(expr, value.shape)

    def _laid_out(self, wanted: Value) -> Any:
        """Return a value in the layout in which a kernel takes it, converted only if it is not."""
        expr, value = self._values[wanted.name]
        if value is not None and value.block == wanted.block:
            return expr
        expr, block = self.plain(wanted.name), wanted.block
        if not block:
            return expr
        n, channels, *rest = wanted.shape
        blocks, pixels = -(-channels // block), math.prod(rest)
        expr = relay.reshape(expr, (n, channels, pixels))
        if blocks * block != channels:
            expr = relay.nn.pad(expr, ((0, 0), (0, blocks * block - channels), (0, 0)))
        expr = relay.reshape(expr, (n, blocks, block, pixels))
        return relay.transpose(expr, (0, 1, 3, 2))

    def _packed(self, call: Planned) -> list[Any]:
        """Return the variables of a call's packed parameters, the same ones each time."""
        name = symbol(call.output.name)
        if name not in self._packing:
            arrays = packed(call, self._weights)
            names = [
                f"{symbol(layer.name)}.{part}"
                for layer in call.weighted
                for part in ("weight", "bias")
            ]
            # What has neither, such as a mean over windows, reads tables of its own.
            names = names or [f"{name}.{number}" for number in range(len(arrays))]
            for each, array in zip(names, arrays, strict=True):
                self.parameters[each] = array
                self.variables[each] = relay.var(each, shape=array.shape, dtype=str(array.dtype))
            self._packing[name] = names
        return [self.variables[each] for each in self._packing[name]]
