"""Phase 1: the plan as a Relax module, its kernels unscheduled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_mobilenet.compute.primfunc import prim_func
from tvm_mobilenet.emit.relax.foreign import import_operator, inline
from tvm_mobilenet.emit.relax.layouts import as_float, from_blocked, stored, to_blocked
from tvm_mobilenet.emit.relax.ours import ours_by_tvm
from tvm_mobilenet.models.spec import INPUT, Operator, symbol
from tvm_mobilenet.network.fold import packed
from tvm_mobilenet.network.plan import Call, Foreign, NetworkPlan, Value
from tvm_mobilenet.operators.ahead import Ahead
from tvm_mobilenet.operators.facts import OPERATORS
from tvm_mobilenet.operators.workload import Workload, element_of
from tvm_mobilenet.schedules.knobs import Knobs
from tvm_mobilenet.schedules.tensorir.cpu.layout import write_layout
from tvm_mobilenet.schedules.tensorir.cpu.written import written

ENTRY = "main"
"""Name of the one function of the module."""

_OPAQUE = 8
"""``relax::OpPatternKind::kOpaque``: TVM's FuseOps keeps out."""

Weights = Mapping[str, NDArray[np.float32]]


def emit(plan: NetworkPlan, weights: Weights) -> Any:
    """Write a plan as Relax: calls of kernels on packed constants, TVM's operators between them.

    Parameters
    ----------
    weights : mapping of str to ndarray
        Every parameter of the model by its full name.

    Returns
    -------
    IRModule
        ``main(x: NCHW) -> output``, or a tuple of several. What computes a layer's value is
        bound to a variable with the layer's ``symbol``.

    Raises
    ------
    UnsupportedOperatorError
        An operator that TVM does not know.
    """
    # Before there is a builder: it complains when an error leaves it half done.
    foreign = {
        step.layer.name: import_operator(step.layer, weights)
        for step in plan.steps
        if isinstance(step, Foreign) and isinstance(step.layer, Operator)
    }
    model, builder = plan.model, relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(model.input_shape, model.input_dtype))
    emitter = _Emitter(builder, plan, weights, foreign)
    emitter.values[INPUT] = _Bound(x)
    with builder.function(ENTRY, [x]):
        with builder.dataflow():
            for step in plan.steps:
                if isinstance(step, Call):
                    emitter.call(step)
                else:
                    emitter.foreign(step)
            outputs = [emitter.plain(name) for name in model.outputs]
            output = builder.emit_output(outputs[0] if len(outputs) == 1 else relax.Tuple(outputs))
        builder.emit_func_output(output)
    return builder.get()


@dataclass(frozen=True, slots=True)
class _Bound:
    """A variable, and how what it holds lies in memory: NCHW or NC where nothing is said."""

    var: Any
    value: Value | None = None


class _Emitter:
    """Emits the steps of a plan, one after the other, into a builder."""

    def __init__(
        self, builder: Any, plan: NetworkPlan, weights: Weights, imported: Mapping[str, Any]
    ) -> None:
        self._builder, self._weights, self._imported = builder, weights, imported
        self._plan, self._calls = plan, plan.calls
        self._kernels: dict[Any, Any] = {}
        self._parameters: dict[str, list[Any]] = {}
        self.values: dict[str, _Bound] = {}

    def call(self, call: Call) -> None:
        """Emit the call of a kernel of ours."""
        data, *others = (self._laid_out(value) for value in call.reads)
        arguments = [data, *self._packed(call), *others]
        for _, at in call.ahead:
            waiting = self._calls[at]
            arguments.append(self._packed(waiting)[OPERATORS[waiting.work.operator].prefetched])
        arguments = [self._builder.normalize(argument) for argument in arguments]
        kind = relax.TensorType(call.output.laid_out, element_of(call.output.type.dtype))
        value = relax.call_tir(self._kernel(call), arguments, kind)
        var = self._builder.emit(value, symbol(call.output.name))
        self.values[call.output.name] = _Bound(var, call.output)

    def foreign(self, step: Foreign) -> None:
        """Emit a layer that TVM computes, on plain values."""
        layer = step.layer
        inputs = {name: self.plain(name) for name in layer.inputs}
        read, name = [inputs[each] for each in layer.inputs], symbol(layer.name)
        if layer.name in self._imported:
            value = inline(self._builder, self._imported[layer.name], read, name)
        else:
            value = ours_by_tvm(self._builder, layer, read, self._weights)
        self.values[layer.name] = _Bound(self._builder.emit(value, name))

    def plain(self, name: str) -> Any:
        """Return a value in NCHW or NC."""
        var, value = self.values[name].var, self.values[name].value
        if value is None or not value.block:
            return var
        if self._has_kernels(value):
            return self._builder.emit(self._moved(var, value, blocks=False))
        dtype = value.type.dtype
        converted = from_blocked(self._builder, var, value.shape, value.block, dtype)
        return self._builder.emit(converted)

    def _has_kernels(self, value: Value) -> bool:
        """Whether to change its layout is a kernel of ours, and not TVM's operators."""
        return self._plan.target.gpu is None and value.type.dtype == "float32"

    def _moved(self, var: Any, value: Value, *, blocks: bool) -> Any:
        """Return a value in the other layout."""
        key = (value.shape, value.block, blocks)
        if key not in self._kernels:
            func = write_layout(value.shape, value.block, self._plan.target, blocks=blocks)
            name = str(func.attrs["global_symbol"])
            self._kernels[key] = self._builder.add_func(func.with_attr("op_pattern", _OPAQUE), name)
        kind = relax.TensorType(value.laid_out if blocks else value.shape, "float32")
        return relax.call_tir(self._kernels[key], [self._builder.normalize(var)], kind)

    def _laid_out(self, wanted: Value) -> Any:
        """Return a value in the layout in which a kernel takes it."""
        bound = self.values[wanted.name]
        if bound.value is not None and bound.value.block == wanted.block:
            return self._stored_as(bound.var, bound.value.type.dtype, wanted.type.dtype)
        plain = self.plain(wanted.name)
        if not wanted.block:
            return plain
        if self._has_kernels(wanted):
            return self._moved(plain, wanted, blocks=True)
        dtype = wanted.type.dtype
        return to_blocked(self._builder, plain, wanted.shape, wanted.block, dtype)

    def _stored_as(self, var: Any, dtype: str, wanted: str) -> Any:
        """Return numbers as another type, where they lie."""
        if dtype == wanted:
            return var
        numbers = self._builder.emit(as_float(self._builder, var, dtype))
        return self._builder.emit(stored(self._builder, numbers, wanted))

    def _packed(self, call: Call) -> list[Any]:
        """Return a call's packed parameters, the same constants each time."""
        name = call.output.name
        if name not in self._parameters:
            self._parameters[name] = [
                relax.const(array) for array in packed(call, self._weights, self._plan.integers)
            ]
        return self._parameters[name]

    def _kernel(self, call: Call) -> Any:
        pieces = tuple(piece for piece, _ in call.ahead)
        key = (call.work, pieces)
        if key not in self._kernels:
            func = self._function(call.work, pieces)
            opaque = func.with_attr("op_pattern", _OPAQUE)
            self._kernels[key] = self._builder.add_func(opaque, str(func.attrs["global_symbol"]))
        return self._kernels[key]

    def _function(self, work: Workload, pieces: tuple[Ahead, ...]) -> Any:
        """Return a kernel: as its operator is defined, or written with its loops."""
        if not work.written:
            return prim_func(work, pieces)
        planned = self._plan.kernels[work.key]
        return written(work, Knobs(planned.knobs), self._plan.target)
