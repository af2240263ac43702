"""Groups become calls of our operators, on blocked maps; weights become named parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relay

from tvm_mobilenet.errors import UnsupportedOperatorError
from tvm_mobilenet.models.spec import symbol
from tvm_mobilenet.operators.workload import Workload
from tvm_mobilenet.prediction.fusion import Fusion, FusionFor
from tvm_mobilenet.relay import operators
from tvm_mobilenet.relay.ahead import with_ahead
from tvm_mobilenet.relay.fuse import Kernel, kernels_of
from tvm_mobilenet.relay.lowered import Call, Lowered
from tvm_mobilenet.relay.match import Group, in_order, shape_of
from tvm_mobilenet.relay.naming import marked
from tvm_mobilenet.relay.packing import pack_bias, pack_weight
from tvm_mobilenet.target import TargetSpec

_PLAIN_IN = {"conv", "softmax"}
"""Operators that read NCHW or NC."""

_VIEWS = {"nn.batch_flatten", "reshape", "squeeze"}


@dataclass(frozen=True, slots=True)
class _Value:
    """An expression, its shape in NCHW or NC, and channels in a block (0: plain)."""

    expr: Any
    shape: tuple[int, ...]
    block: int = 0


def lower(
    func: Any,
    target: TargetSpec,
    names: Mapping[Any, str] | None = None,
    fusion: Fusion = "auto",
    fusion_for: FusionFor = lambda _: None,
) -> Lowered:
    """Lower a Relay function on plain NCHW maps, whoever made it.

    before: ``clip(batch_norm(conv2d(x, W), …)[0], 0, 6)`` on NCHW
    after: ``tvm_mobilenet.pointwise(x, weight, bias)`` on ``[N, C/c, H*W, c]``; what is not
    ours stays as it is, on plain maps

    Parameters
    ----------
    func : relay.Function
        One parameter; weights are constants. ``relay.frontend.from_onnx`` makes such with
        ``freeze_params``.
    target : TargetSpec
        Its lanes are the block.
    names : mapping of relay.Expr to str, optional
        The layers that expressions are the values of.
    fusion, fusion_for
        Which layers share a kernel: as :func:`tvm_mobilenet.relay.fuse.kernels_of` takes them.

    Raises
    ------
    UnsupportedOperatorError
        Control flow, or shapes known only at run time.
    """
    before = in_order(func)
    func = relay.transform.InferType()(tvm.IRModule.from_expr(func))["main"]
    after = in_order(func)
    named = {}
    for old, new in zip(before, after, strict=True):
        if names is not None and old in names:
            named[new] = names[old]
    kernels = kernels_of(func, target, fusion, fusion_for)
    return _Lowering(func, kernels, named).run(target)


@dataclass
class _Lowering:
    func: Any
    kernels: dict[Any, Kernel]
    names: dict[Any, str]
    values: dict[Any, _Value] = field(default_factory=dict)
    parameters: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    weights: list[Any] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def run(self, target: TargetSpec) -> Lowered:
        every = self.kernels.items()
        inside = {e for end, kernel in every for e in kernel.members if e != end}
        (entry,) = self.func.params
        for expr in in_order(self.func):
            if expr in inside or isinstance(expr, tvm.ir.Op):
                continue
            kernel = self.kernels.get(expr)
            self.values[expr] = self._foreign(expr) if kernel is None else self._kernel(kernel)
        body = self._plain(self.func.body)
        made = relay.Function([entry, *self.weights], body)
        calls = self.calls
        if target.gpu is None:
            made, calls = with_ahead(made, calls, target)
        mod = relay.transform.InferType()(tvm.IRModule.from_expr(made))
        return Lowered(mod, self.parameters, calls)

    def _kernel(self, kernel: Kernel) -> _Value:
        """Emit a kernel."""
        work, first, last = kernel.work, kernel.groups[0], kernel.groups[-1]
        source = self.values[first.anchor.args[0]]
        plain = work.operator in _PLAIN_IN
        arguments = [self._plain_value(source) if plain else self._blocked(source, work.in_block)]
        for group, part in zip(kernel.groups, kernel.parts, strict=True):
            arguments += self._parameters(group, part)
        other = last.anchor.args[1] if last.kind == "scale" else last.residual
        if other is not None:
            arguments.append(self._blocked(self.values[other], work.out_block))
        expr = operators.call(work, arguments)
        shape = shape_of(last.end)
        layers = tuple(self.names[e] for e in kernel.members if e in self.names)
        self.calls.append(Call(work, layers, expr, shape))
        return _Value(expr, shape, 0 if len(operators.out_shape(work)) == 2 else work.out_block)

    def _parameters(self, group: Group, part: Workload) -> list[Any]:
        """Return the packed weight and bias of a group, if it has any."""
        if group.weight is None or group.bias is None:
            return []
        layers = [self.names[e] for e in group.members if e in self.names]
        name = symbol(layers[0]) if layers else f"{part.operator}{len(self.calls)}"
        product = part.operator in ("pointwise", "dense")
        depth = part.depth if product else group.weight[0].size
        weight = pack_weight(group.weight, depth, part.out_block)
        return [
            self._parameter(f"{name}.weight", weight),
            self._parameter(f"{name}.bias", pack_bias(group.bias, part.out_block)),
        ]

    def _parameter(self, name: str, array: NDArray[np.float32]) -> Any:
        base, count = name, 1
        while name in self.parameters:
            name, count = f"{base}{count}", count + 1
        self.parameters[name] = array
        self.weights.append(relay.var(name, shape=array.shape, dtype="float32"))
        return self.weights[-1]

    def _foreign(self, expr: Any) -> _Value:
        """Return an expression that is not ours, on plain values."""
        if isinstance(expr, relay.Var | relay.Constant):
            return _Value(expr, shape_of(expr))
        if isinstance(expr, relay.Tuple):
            return _Value(relay.Tuple([self._plain(e) for e in expr.fields]), ())
        if isinstance(expr, relay.TupleGetItem):
            part = relay.TupleGetItem(self._plain(expr.tuple_value), expr.index)
            return _Value(part, _sizes(expr))
        if not isinstance(expr, relay.Call) or not isinstance(expr.op, tvm.ir.Op):
            raise UnsupportedOperatorError(
                f"Relay cannot lower {type(expr).__name__} here", "export the model without it"
            )
        first = self.values.get(expr.args[0]) if len(expr.args) == 1 else None
        shape = _sizes(expr)
        if first is not None and str(expr.op.name) in _VIEWS and _one_pixel(first, shape):
            return _Value(first.expr, shape, first.block)
        arguments = [self._plain(argument) for argument in expr.args]
        call = relay.Call(expr.op, arguments, expr.attrs, expr.type_args)
        name = self.names.get(expr)
        return _Value(call if name is None else marked(call, name), shape)

    def _plain(self, expr: Any) -> Any:
        return self._plain_value(self.values[expr])

    def _plain_value(self, value: _Value) -> Any:
        """Return a value in NCHW or NC."""
        if not value.block:
            return value.expr
        n, channels, *rest = value.shape
        blocks, pixels = -(-channels // value.block), math.prod(rest)
        expr = relay.transpose(value.expr, (0, 1, 3, 2))
        expr = relay.reshape(expr, (n, blocks * value.block, pixels))
        if blocks * value.block != channels:
            expr = relay.strided_slice(expr, [0], [channels], axes=[1])
        return relay.reshape(expr, value.shape)

    def _blocked(self, value: _Value, block: int) -> Any:
        """Return a value as (N, ceil(C / block), H * W, block), converted only if it is not."""
        if value.block == block:
            return value.expr
        n, channels, *rest = value.shape
        blocks, pixels = -(-channels // block), math.prod(rest)
        expr = relay.reshape(self._plain_value(value), (n, channels, pixels))
        if blocks * block != channels:
            expr = relay.nn.pad(expr, ((0, 0), (0, blocks * block - channels), (0, 0)))
        expr = relay.reshape(expr, (n, blocks, block, pixels))
        return relay.transpose(expr, (0, 1, 3, 2))


def _sizes(expr: Any) -> tuple[int, ...]:
    """Return the shape of a tensor, nothing for a tuple."""
    return shape_of(expr) if isinstance(expr.checked_type, relay.TensorType) else ()


def _one_pixel(value: _Value, shape: tuple[int, ...]) -> bool:
    """Whether a change of shape leaves a blocked map of one pixel as it is."""
    return bool(value.block) and math.prod(value.shape[2:]) == 1 and shape == value.shape[:2]
