"""What of a Relay function is one kernel of ours: an operator and what follows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relay

from tvm_mobilenet.operators.sizes import is_pointwise
from tvm_mobilenet.operators.workload import Activation

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Group:
    """Expressions that one kernel computes.

    Attributes
    ----------
    kind : str
        ``"conv2d"``, ``"dense"``, ``"pool"``, ``"scale"`` or ``"softmax"``.
    anchor : relay.Call
        The operator itself.
    members : tuple of relay.Expr
        From the anchor to the expression whose value the kernel writes.
    weight : ndarray or None
        OIHW or (O, I), batch norm folded into it; float64.
    bias : ndarray or None
        (O,); float64.
    activation : Activation
    residual : relay.Expr or None
        A tensor of the output's shape that is added before the activation.
    """

    kind: str
    anchor: Any
    members: tuple[Any, ...] = field(default=())
    weight: Float64 | None = None
    bias: Float64 | None = None
    activation: Activation = "none"
    residual: Any = None

    @property
    def end(self) -> Any:
        """The expression whose value the kernel writes."""
        return self.members[-1]


def operator_name(expr: Any) -> str:
    """Return the operator of a call, such as ``"nn.conv2d"``; "" if it is none."""
    op = expr.op if isinstance(expr, relay.Call) else None
    return str(getattr(op, "name", ""))


def shape_of(expr: Any) -> tuple[int, ...]:
    """Return the shape of an expression whose type is inferred."""
    return tuple(int(size) for size in expr.checked_type.shape)


def in_order(func: Any) -> list[Any]:
    """Return the expressions of a function's body, each after those that it reads."""
    found: list[Any] = []
    relay.analysis.post_order_visit(func.body, found.append)
    return found


def groups_of(func: Any) -> dict[Any, Group]:
    """Find the kernels of a function, the longest that each operator can have.

    Parameters
    ----------
    func : relay.Function
        Its types inferred.

    Returns
    -------
    dict of relay.Expr to Group
        By the group's end. No expression is in two groups, and what is inside of one
        nobody else reads.
    """
    matcher = _Matcher(func)
    taken: set[Any] = set()
    groups = {}
    for expr in reversed(in_order(func)):
        if expr in taken:
            continue
        group = matcher.match(expr)
        if group is not None:
            groups[expr] = group
            taken.update(group.members)
    return groups


class _Matcher:
    """Reads groups from their end to their anchor."""

    def __init__(self, func: Any) -> None:
        self._readers: Counter[Any] = Counter([func.body])
        for expr in in_order(func):
            self._readers.update(read_by(expr))

    def match(self, expr: Any) -> Group | None:
        name = operator_name(expr)
        if name == "mean" and _whole_map(expr):
            return Group("pool", expr, (expr,))
        if name == "nn.global_avg_pool2d" and expr.attrs.layout == "NCHW":
            return Group("pool", expr, (expr,))
        if name == "nn.softmax" and len(shape_of(expr)) == 2 and int(expr.attrs.axis) in (-1, 1):
            return Group("softmax", expr, (expr,))
        found = self._activated(expr)
        if found is None and name == "multiply" and _scales(*expr.args):
            return Group("scale", expr, (expr,))
        return found

    def _activated(self, expr: Any) -> Group | None:
        for activation, source, inside in _activations(expr):
            # The source of a hard swish is read twice, both times inside.
            reads = 1 + (activation == "hardswish")
            if self._readers[source] == reads and all(self._readers[e] == 1 for e in inside):
                found = self._summed(source)
                if found is not None:
                    members = (*found.members, *inside, expr)
                    return replace(found, activation=activation, members=members)
        return self._summed(expr)

    def _summed(self, expr: Any) -> Group | None:
        if operator_name(expr) == "add" and not any(map(_constant, expr.args)):
            for source, other in (expr.args, reversed(expr.args)):
                if self._readers[source] != 1 or shape_of(source) != shape_of(other):
                    continue
                found = self._affine(source)
                if found is not None and _is_pointwise(found):
                    return replace(found, residual=other, members=(*found.members, expr))
        return self._affine(expr)

    def _affine(self, expr: Any) -> Group | None:
        """Read an operator behind which there are only biases and batch norms."""
        if _is_anchor(expr):
            weight = expr.args[1].data.numpy().astype(np.float64)
            kind = operator_name(expr).removeprefix("nn.")
            return Group(kind, expr, (expr,), weight, np.zeros(len(weight)))
        if (norm := _batch_norm(expr)) is not None:
            found = self._affine_inside(norm.args[0])
            if found is None:
                return None
            gamma, beta, mean, variance = (a.data.numpy().astype(np.float64) for a in norm.args[1:])
            attrs = norm.attrs
            scale = (gamma if attrs.scale else 1.0) / np.sqrt(variance + float(attrs.epsilon))
            assert found.weight is not None
            weight = found.weight * scale.reshape(-1, *[1] * (found.weight.ndim - 1))
            bias = (beta if attrs.center else 0.0) + (found.bias - mean) * scale
            return replace(found, weight=weight, bias=bias, members=(*found.members, norm, expr))
        if operator_name(expr) in ("nn.bias_add", "add") and _constant(expr.args[1]):
            found = self._affine_inside(expr.args[0])
            if found is None or not _per_channel(expr, found):
                return None
            added = expr.args[1].data.numpy().astype(np.float64).reshape(-1)
            return replace(found, bias=found.bias + added, members=(*found.members, expr))
        return None

    def _affine_inside(self, expr: Any) -> Group | None:
        return self._affine(expr) if self._readers[expr] == 1 else None


def read_by(expr: Any) -> list[Any]:
    """Return the expressions that an expression reads, operators left out."""
    if isinstance(expr, relay.Call):
        return list(expr.args)
    if isinstance(expr, relay.Tuple):
        return list(expr.fields)
    return [expr.tuple_value] if isinstance(expr, relay.TupleGetItem) else []


def _activations(expr: Any) -> Iterator[tuple[Activation, Any, tuple[Any, ...]]]:
    """List what an expression may be the end of: activation, its source, what is between."""
    name = operator_name(expr)
    if name == "nn.relu":
        yield "relu", expr.args[0], ()
    elif _clips_to_6(expr):
        yield "relu6", expr.args[0], ()
    elif (gate := _gate(expr)) is not None:
        yield "hardsigmoid", *gate
    elif name == "multiply":
        for source, other in (expr.args, reversed(expr.args)):
            gate = _gate(other)
            if gate is not None and gate[0] == source:
                yield "hardswish", source, (*gate[1], other)


def _gate(expr: Any) -> tuple[Any, tuple[Any, ...]] | None:
    """Return the source of clip(x + 3, 0, 6) / 6, and what is between."""
    if operator_name(expr) != "divide" or _scalar(expr.args[1]) != 6.0:
        return None
    clip = expr.args[0]
    if not _clips_to_6(clip) or operator_name(clip.args[0]) != "add":
        return None
    raised = clip.args[0]
    return (raised.args[0], (raised, clip)) if _scalar(raised.args[1]) == 3.0 else None


def _clips_to_6(expr: Any) -> bool:
    return operator_name(expr) == "clip" and (expr.attrs.a_min, expr.attrs.a_max) == (0.0, 6.0)


def _constant(expr: Any) -> bool:
    return isinstance(expr, relay.Constant)


def _scalar(expr: Any) -> float | None:
    return float(expr.data.numpy()) if _constant(expr) and not expr.data.shape else None


def _batch_norm(expr: Any) -> Any | None:
    """Return the batch norm over channels whose normalised map this is."""
    if not isinstance(expr, relay.TupleGetItem) or expr.index != 0:
        return None
    norm = expr.tuple_value
    ours = operator_name(norm) == "nn.batch_norm" and int(norm.attrs.axis) == 1
    return norm if ours and all(map(_constant, norm.args[1:])) else None


def _per_channel(expr: Any, found: Group) -> bool:
    """Whether what is added is one number a channel."""
    assert found.bias is not None
    shape = tuple(expr.args[1].data.shape)
    if operator_name(expr) == "nn.bias_add":
        return int(expr.attrs.axis) in (1, 1 - len(shape_of(expr)))
    after = len(shape_of(expr)) - 2
    return len(shape) > after and shape[len(shape) - after - 1] == found.bias.size == np.prod(shape)


def _is_anchor(expr: Any) -> bool:
    """Whether a call is a convolution or dense layer that our kernels compute."""
    name = operator_name(expr)
    if name not in ("nn.conv2d", "nn.dense") or not _constant(expr.args[1]):
        return False
    if str(expr.checked_type.dtype) != "float32":
        return False
    if name == "nn.dense":
        return len(shape_of(expr)) == 2
    attrs, out = expr.attrs, shape_of(expr)
    layouts = (str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout))
    if layouts[:2] != ("NCHW", "OIHW") or layouts[2] not in ("", "NCHW"):
        return False
    alone = int(attrs.groups) == shape_of(expr.args[0])[1] == out[1]
    dilated = any(int(d) != 1 for d in attrs.dilation)
    return not dilated and (int(attrs.groups) == 1 or alone)


def _is_pointwise(group: Group) -> bool:
    if group.kind != "conv2d" or group.weight is None:
        return False
    attrs = group.anchor.attrs
    strides, padding = map(int, attrs.strides), map(int, attrs.padding)
    plain = is_pointwise(group.weight.shape[2:], tuple(strides), tuple(padding))
    return plain and int(attrs.groups) == 1


def _whole_map(expr: Any) -> bool:
    rank = len(shape_of(expr.args[0]))
    axes = sorted(int(axis) % rank for axis in expr.attrs.axis or ())
    return rank == 4 and axes == [2, 3] and not expr.attrs.exclude


def _scales(first: Any, second: Any) -> bool:
    """Whether the second is one factor a channel of the first, a map."""
    if _constant(first) or _constant(second):
        return False
    shape, factors = shape_of(first), shape_of(second)
    return len(shape) == 4 and factors == (*shape[:2], 1, 1)
