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

from tvm_mobilenet.compute.sizes import convolution, dense, over_channels
from tvm_mobilenet.compute.workload import Workload
from tvm_mobilenet.errors import UnsupportedOperatorError
from tvm_mobilenet.models.spec import symbol
from tvm_mobilenet.relay import operators
from tvm_mobilenet.relay.match import Group, groups_of, in_order, read_by, shape_of
from tvm_mobilenet.relay.packing import pack_bias, pack_weight
from tvm_mobilenet.schedules.te.rules import TE
from tvm_mobilenet.target import TargetSpec

_PLAIN_IN = {"conv", "softmax"}
"""Operators that read NCHW or NC."""

_VIEWS = {"nn.batch_flatten", "reshape", "squeeze"}


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel of ours in the network.

    Attributes
    ----------
    work : Workload
    layers : tuple of str
        Layers that it computes, where the function's maker named them.
    expr : relay.Call
    shape : tuple of int
        Of its value, NCHW or NC.
    """

    work: Workload
    layers: tuple[str, ...]
    expr: Any
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Lowered:
    """A network ready for Relay's build.

    Attributes
    ----------
    mod : IRModule
        ``main(x, weights…)``.
    parameters : dict of str to ndarray
        Packed weights by the names of main's parameters, float32.
    calls : list of Call
        In the order of execution.
    """

    mod: Any
    parameters: dict[str, NDArray[np.float32]]
    calls: list[Call]


@dataclass(frozen=True, slots=True)
class _Value:
    """An expression, its shape in NCHW or NC, and channels in a block (0: plain)."""

    expr: Any
    shape: tuple[int, ...]
    block: int = 0


def lower(func: Any, target: TargetSpec, names: Mapping[Any, str] | None = None) -> Lowered:
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
    return _Lowering(func, target, named).run()


@dataclass
class _Lowering:
    func: Any
    target: TargetSpec
    names: dict[Any, str]
    values: dict[Any, _Value] = field(default_factory=dict)
    parameters: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    weights: list[Any] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    hidden: set[Any] = field(default_factory=set)

    def run(self) -> Lowered:
        groups = {
            end: group
            for end, group in groups_of(self.func).items()
            if group.weight is not None or group.kind in TE
        }
        inside = {e for group in groups.values() for e in group.members if e != group.end}
        (entry,) = self.func.params
        self.hidden = self._hidden(groups, inside)
        for expr in in_order(self.func):
            if expr in inside or isinstance(expr, tvm.ir.Op):
                continue
            group = groups.get(expr)
            self.values[expr] = self._foreign(expr) if group is None else self._kernel(group)
        body = self._plain(self.func.body)
        mod = tvm.IRModule.from_expr(relay.Function([entry, *self.weights], body))
        return Lowered(relay.transform.InferType()(mod), self.parameters, self.calls)

    def _hidden(self, groups: Mapping[Any, Group], inside: set[Any]) -> set[Any]:
        """Find dense layers whose value only our kernels read, in blocks."""
        readers: dict[Any, list[bool]] = {self.func.body: [False]}
        for expr in in_order(self.func):
            if expr in inside or not isinstance(expr, relay.Call | relay.Tuple):
                continue
            group = groups.get(expr)
            ours = group is not None and group.kind != "softmax"
            for source in [group.anchor.args[0]] if group else read_by(expr):
                readers.setdefault(source, []).append(ours)
        ends = [end for end, group in groups.items() if group.kind == "dense"]
        return {end for end in ends if all(readers.get(end, [False]))}

    def _kernel(self, group: Group) -> _Value:
        """Emit the kernel of a group."""
        source = self.values[group.anchor.args[0]]
        shape = shape_of(group.end)
        work = self._work(group, source.shape, shape)
        layers = tuple(self.names[e] for e in group.members if e in self.names)
        plain = work.operator in _PLAIN_IN
        arguments = [self._plain_value(source) if plain else self._blocked(source, work.in_block)]
        if group.weight is not None and group.bias is not None:
            steps = group.weight[0].size
            depth = work.depth if work.operator in ("pointwise", "dense") else steps
            name = symbol(layers[0]) if layers else f"{work.operator}{len(self.calls)}"
            weight = pack_weight(group.weight, depth, work.out_block)
            arguments.append(self._parameter(f"{name}.weight", weight))
            arguments.append(self._parameter(f"{name}.bias", pack_bias(group.bias, work.out_block)))
        other = group.anchor.args[1] if group.kind == "scale" else group.residual
        if other is not None:
            arguments.append(self._blocked(self.values[other], work.out_block))
        expr = operators.call(work, arguments)
        self.calls.append(Call(work, layers, expr, shape))
        return _Value(expr, shape, 0 if len(operators.out_shape(work)) == 2 else work.out_block)

    def _work(self, group: Group, in_shape: tuple[int, ...], shape: tuple[int, ...]) -> Workload:
        if group.kind in ("pool", "scale", "softmax"):
            return over_channels(group.kind, in_shape, self.target)  # type: ignore[arg-type]
        if group.kind == "dense":
            blocked = group.end in self.hidden
            return dense(in_shape, shape[1], self.target, group.activation, blocked=blocked)
        attrs = group.anchor.attrs
        assert group.weight is not None
        return convolution(
            in_shape,
            shape,
            self.target,
            kernel=group.weight.shape[2:],
            strides=[int(s) for s in attrs.strides],
            padding=[int(p) for p in attrs.padding],
            groups=int(attrs.groups),
            activation=group.activation,
            residual=group.residual is not None,
        )

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
        return _Value(relay.Call(expr.op, arguments, expr.attrs, expr.type_args), shape)

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
