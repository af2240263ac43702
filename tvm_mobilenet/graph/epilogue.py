"""What follows an operator element by element: found in a graph, and read from a composite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tvm import relax, tirx

from tvm_mobilenet.graph.constants import array_of, is_constant
from tvm_mobilenet.operators.workload import Activation

_RELU6 = (0.0, 6.0)
_RAISED, _DIVISOR = 3.0, 6.0
"""Hard sigmoid: clip(x + 3, 0, 6) / 6."""


def operator_name(call: Any) -> str:
    """Return the operator of a call, such as ``"relax.add"``; "" if it is none."""
    return str(getattr(getattr(call, "op", None), "name", ""))


def static_shape(expr: Any) -> tuple[int, ...] | None:
    """Return the shape of a float32 tensor, None of anything else or of unknown size."""
    kind = expr.ty
    if not isinstance(kind, relax.TensorType) or str(kind.dtype) != "float32":
        return None
    sizes = getattr(kind.shape, "values", None)
    if sizes is None or not all(isinstance(size, tirx.IntImm) for size in sizes):
        return None
    return tuple(int(size) for size in sizes)


@dataclass(frozen=True, slots=True)
class Epilogue:
    """What a kernel does with an accumulator.

    Attributes
    ----------
    bias : relax.Expr or None
        Constant, one element a channel.
    residual : bool
        Whether a tensor of the output's shape is added, before the activation.
    activation : Activation
    """

    bias: Any | None
    residual: bool
    activation: Activation


def read_epilogue(calls: Sequence[Any]) -> Epilogue:
    """Read the epilogue of a layer of a composite function.

    Parameters
    ----------
    calls : sequence of relax.Call
        The layer's, the first of which computes the accumulator; grouped by
        :class:`Grower`.
    """
    bias, residual = None, False
    activation: Activation = "none"
    for call in calls[1:]:
        name = operator_name(call)
        if name == "relax.add" and not is_constant(call.args[1]):
            residual = True
        elif name == "relax.add" and static_shape(call.args[1]) != ():
            bias = call.args[1]
        # A later operator tells a longer activation from the shorter one that it begins with.
        activation = _ENDS.get(name, activation)
    return Epilogue(bias, residual, activation)


_ENDS: dict[str, Activation] = {
    "relax.nn.relu": "relu",
    "relax.clip": "relu6",
    "relax.divide": "hardsigmoid",
    "relax.multiply": "hardswish",
}


@dataclass
class Grower:
    """Finds the bindings of a function that can join the operator before them.

    Attributes
    ----------
    reads : Counter of Var
        How often each variable is read, by the function's result as well.
    users : dict of Var to list of Binding
        Who reads it.
    taken : set of Var
        Bindings that are in a group already.
    """

    reads: Counter[Any]
    users: dict[Any, list[Any]]
    taken: set[Any] = field(default_factory=set)

    def grow(self, anchor: Any, residual: bool) -> list[Any]:
        """Return a group: a bias first, then a residual, then one activation, then nothing.

        Parameters
        ----------
        anchor : Binding
        residual : bool
            Whether the operator's kernel can add a tensor.
        """
        group = [anchor]
        for stage in (self._bias, self._residual, self._activation):
            if stage == self._residual and not residual:
                continue
            found = stage(group[-1].var)
            if self.taken.isdisjoint(binding.var for binding in found):
                group += found
        return group

    def _only_reader(self, var: Any) -> Any | None:
        """Return the binding that alone reads a variable, once."""
        users = self.users.get(var, [])
        return users[0] if self.reads[var] == len(users) == 1 else None

    def _bias(self, var: Any) -> list[Any]:
        following = self._only_reader(var)
        if following is None or operator_name(following.value) != "relax.add":
            return []
        return [following] if _is_bias(following.value, var) else []

    def _residual(self, var: Any) -> list[Any]:
        following = self._only_reader(var)
        if following is None or operator_name(following.value) != "relax.add":
            return []
        shape = static_shape(var)
        terms = following.value.args
        tensors = all(isinstance(term, relax.Var) for term in terms)
        tensors = tensors and not terms[0].same_as(terms[1])
        same = shape is not None and all(static_shape(term) == shape for term in terms)
        return [following] if tensors and same else []

    def _activation(self, var: Any) -> list[Any]:
        following = self._only_reader(var)
        if following is not None and operator_name(following.value) == "relax.nn.relu":
            return [following]
        if following is not None and _is_relu6(following.value):
            return [following]
        users = self.users.get(var, [])
        for user in users:
            gate = self._hard_sigmoid(user)
            if not gate:
                continue
            if following is not None:
                return gate
            product = self._only_reader(gate[-1].var)
            if product is not None and self._is_product(product.value, var, gate[-1].var):
                return [*gate, product]
        return []

    def _hard_sigmoid(self, first: Any) -> list[Any]:
        """Return the bindings of a hard sigmoid that starts with `first`; none if it is none."""
        second = self._only_reader(first.var)
        third = self._only_reader(second.var) if second is not None else None
        if second is None or third is None:
            return []
        if not (_is_scalar(first.value, "relax.add", _RAISED) and _is_relu6(second.value)):
            return []
        return [first, second, third] if _is_scalar(third.value, "relax.divide", _DIVISOR) else []

    def _is_product(self, call: Any, one: Any, other: Any) -> bool:
        return (
            operator_name(call) == "relax.multiply"
            and {*call.args} == {one, other}
            and self.reads[one] == len(self.users[one])
            and len({user.var for user in self.users[one]}) == 2
        )


def _is_relu6(call: Any) -> bool:
    return (
        operator_name(call) == "relax.clip"
        and tuple(float(bound.value) for bound in call.args[1:]) == _RELU6
    )


def _is_scalar(call: Any, operator: str, value: float) -> bool:
    """Whether a call applies an operator to a tensor and one constant."""
    if operator_name(call) != operator or not is_constant(call.args[1]):
        return False
    number = array_of(call.args[1])
    return bool(number.ndim == 0 and float(number) == value)


def _is_bias(call: Any, value: Any) -> bool:
    """Whether an addition adds one constant a channel to `value`: no other broadcast."""
    shape, added = static_shape(value), static_shape(call.args[1])
    if shape is None or added is None or not is_constant(call.args[1]):
        return False
    per_channel = (shape[1],) if len(shape) == 2 else (shape[1], 1, 1)
    return added in (per_channel, (1, *per_channel))
