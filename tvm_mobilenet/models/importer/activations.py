"""Activations, however they are spelled: recognised by what they compute, not by how.

A tensor that depends on another one element by element, through constants of one element, is
a function of one number. It is computed on a grid; if it agrees there with one of ours, and
nobody else reads what lies between, its nodes become one. So ``Div(Mul(x, Clip(Add(x, 3), 0,
6)), 6)`` is a hard swish in any order of its operators.

A quantised file may round between them. What begins at a rounded value becomes one all the same: a
table is nearer to the function than its parts, rounded each. Tools leave out a ``Clip`` that does
no more than the rounding behind it: then what roundings clip counts, between that value's ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tvm_mobilenet.common.functions import spelled
from tvm_mobilenet.models.activations import activate
from tvm_mobilenet.models.importer.fits import GRID, Float64, fitted, fitted_within
from tvm_mobilenet.models.importer.graph import Array, Graph, Node
from tvm_mobilenet.models.importer.roundings import ROUND, rounded_values, type_of_rounding
from tvm_mobilenet.models.tensors import TensorType

ACTIVATION = "Activation"
"""Operator of the nodes made here; its attribute of that name says which."""

_LONGEST = 9
"""Nodes of a function, at most; a GELU by its hyperbolic tangent has that many."""


def recognise_activations(graph: Graph) -> None:
    """Replace the nodes of each activation by one, and drop those that compute nothing.

    before: ``Clip(x, 0, 6)``; ``Mul(x, HardSigmoid(x))``; …
    after: ``Activation(x)``, its attribute as :mod:`tvm_mobilenet.common.functions` has it
    """
    rounded = rounded_values(graph)
    functions, readers = _functions(graph, RULES), graph.readers()
    clipped = _functions(graph, RULES | {ROUND: _saturated}) if rounded else functions
    gone: set[int] = set()
    made: dict[int, Node] = {}
    for node in reversed(graph.nodes):
        if id(node) in gone or node.op == ROUND or graph.dtype(node.out) != "float32":
            continue
        for source, values in reversed([*functions.get(node.out, {}).items()][1:]):
            name = fitted(values)
            if name is None and source in rounded:
                name = fitted_within(clipped[node.out][source], *_ends(rounded[source]))
            inside = None
            if name:
                inside = between(graph, readers, node, source, rounded=source in rounded)
            if name and inside is not None and graph.shape(source) == graph.shape(node.out):
                gone.update(map(id, inside))
                made[id(node)] = Node(ACTIVATION, node.name, [source], [node.out],
                                      {"activation": name})  # fmt: skip
                break
    nodes = []
    for node in graph.nodes:
        new = made.get(id(node))
        if new is not None and new.attrs["activation"] != "none":
            nodes.append(new)
        elif new is None and id(node) not in gone:
            nodes.append(node)
    graph.nodes = nodes
    for new in made.values():  # from the last to the first: a source may be one of them
        if new.attrs["activation"] == "none":
            graph.rename(new.out, new.inputs[0])
    graph.keep(graph.nodes)


def _ends(of: TensorType) -> tuple[float, float]:
    """Return the least and the greatest number that elements stand for."""
    low, high = (of.scale[0] * (end - (of.zero_point or 0)) for end in of.limits)
    return low, high


def _functions(graph: Graph, rules: Rules) -> dict[str, dict[str, Float64]]:
    return functions_of(graph, rules, GRID, lambda constant, _: only_number(constant))


def only_number(constant: Array) -> float | None:
    """Return the number of a constant of one element; None of another."""
    return float(constant.reshape(-1)[0]) if constant.size == 1 else None


def functions_of(
    graph: Graph, rules: Rules, grid: Float64, known: Callable[[Array, Node], Any]
) -> dict[str, dict[str, Float64]]:
    """Return each tensor as functions of those before it: itself, then ever earlier ones.

    Parameters
    ----------
    grid : ndarray
        Points at which they are known.
    known : callable
        From a constant, and the node that reads it, to what the rules compute with; None if a
        function of it is no business here.
    """
    found: dict[str, dict[str, Float64]] = {}
    for node in graph.nodes:
        for tensor in node.outputs:
            found[tensor] = {tensor: grid}
        rule = rules.get(node.op)
        if rule is None:
            continue
        operands: list[Any] = []
        for tensor in node.inputs:
            constant = graph.constants.get(tensor)
            if constant is not None:
                operands.append(known(constant, node))
            else:
                operands.append(found.setdefault(tensor, {tensor: grid}) if tensor else None)
        if any(
            constant is None and name for constant, name in zip(operands, node.inputs, strict=True)
        ):
            continue
        variables = [operand for operand in operands if isinstance(operand, dict)]
        common = set.intersection(*map(set, variables)) if variables else set()
        longest = max(variables, key=len, default={})
        for source in [name for name in longest if name in common][:_LONGEST]:
            values = [o[source] if isinstance(o, dict) else o for o in operands]
            with np.errstate(all="ignore"):
                found[node.out][source] = np.asarray(rule(node, values), np.float64)
    return found


def between(
    graph: Graph,
    readers: dict[str, list[Node]],
    last: Node,
    source: str,
    *,
    rounded: bool = False,
) -> list[Node] | None:
    """Return the nodes from a source to `last`, without it; None if they cannot go."""
    producers = graph.producers()
    inside: list[Node] = []
    todo = [tensor for tensor in last.inputs if tensor != source]
    while todo:
        node = producers.get(todo.pop())
        if node is None or node in inside:
            continue  # a constant
        inside.append(node)
        todo += [tensor for tensor in node.inputs if tensor != source]
    if not rounded and any(node.op == ROUND for node in inside):
        return None
    members = {id(node) for node in (*inside, last)}
    for node in inside:
        if node.out in graph.outputs:
            return None
        if any(id(reader) not in members for reader in readers[node.out]):
            return None
    return inside


_Values = list[Any]
Rules = dict[str, Callable[[Node, _Values], Any]]
"""By operator, what a node computes."""


def _saturated(node: Node, values: _Values) -> Any:
    return np.clip(values[0], *_ends(type_of_rounding(node)))


def _clip(_: Node, values: _Values) -> Any:
    low = values[1] if len(values) > 1 else None
    high = values[2] if len(values) > 2 else None
    value = values[0] if low is None else np.maximum(values[0], low)
    return value if high is None else np.minimum(value, high)


def _hard_sigmoid(node: Node, values: _Values) -> Any:
    alpha, beta = node.attrs.get("alpha", 0.2), node.attrs.get("beta", 0.5)
    return np.clip(alpha * values[0] + beta, 0.0, 1.0)


def _extreme(function: Any) -> Callable[[Node, _Values], Any]:
    def rule(node: Node, values: _Values) -> Any:
        result = values[0]
        for value in values[1:]:
            result = function(result, value)
        return result

    return rule


def _named(name: str, **defaults: float) -> Callable[[Node, _Values], Any]:
    """Return the rule of an operator that is an activation, its parameters attributes."""

    def rule(node: Node, values: _Values) -> Any:
        parameters = [float(node.attrs.get(key, value)) for key, value in defaults.items()]
        return activate(np.asarray(values[0], np.float64), spelled(name, *parameters))

    return rule


def _gelu(node: Node, values: _Values) -> Any:
    by_tanh = node.attrs.get("approximate", "none") in ("tanh", b"tanh")
    return activate(np.asarray(values[0], np.float64), "gelutanh" if by_tanh else "gelu")


def _erf(x: Any) -> Any:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x), np.float64)


RULES: Rules = {
    ACTIVATION: lambda node, values: activate(values[0], node.attrs["activation"]),
    "Add": lambda _, values: values[0] + values[1],
    "Sub": lambda _, values: values[0] - values[1],
    "Mul": lambda _, values: values[0] * values[1],
    "Div": lambda _, values: values[0] / values[1],
    "Neg": lambda _, values: -values[0],
    "Abs": lambda _, values: np.abs(values[0]),
    "Pow": lambda _, values: np.power(values[0], values[1]),
    "Reciprocal": lambda _, values: 1.0 / values[0],
    "Exp": lambda _, values: np.exp(values[0]),
    "Erf": lambda _, values: _erf(values[0]),
    "Tanh": lambda _, values: np.tanh(values[0]),
    "Sigmoid": _named("sigmoid"),
    "Softplus": _named("softplus"),
    "Mish": _named("mish"),
    "Elu": _named("elu", alpha=1.0),
    "Selu": _named("selu", alpha=1.67326319217681884765625, gamma=1.05070102214813232421875),
    "Celu": _named("celu", alpha=1.0),
    "LeakyRelu": _named("leakyrelu", alpha=0.01),
    "PRelu": lambda _, values: np.where(values[0] < 0, values[1] * values[0], values[0]),
    "Gelu": _gelu,
    "Swish": _named("swish", alpha=1.0),
    "Min": _extreme(np.minimum),
    "Max": _extreme(np.maximum),
    "Relu": lambda _, values: np.maximum(values[0], 0.0),
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _named("hardswish"),
    ROUND: lambda _, values: values[0],
}
