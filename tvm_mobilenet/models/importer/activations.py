"""Activations, however they are spelled: recognised by what they compute, not by how.

A tensor that depends on another one element by element, through constants of one element, is
a function of one number. It is computed on a grid; if it agrees there with one of ours, and
nobody else reads what lies between, its nodes become one. So ``Div(Mul(x, Clip(Add(x, 3), 0,
6)), 6)`` is a hard swish in any order of its operators.

A quantised file may round between them. What begins at a rounded value becomes one all the same: a
table is nearer to the function than its parts, rounded each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from tvm_mobilenet.models.activations import activate
from tvm_mobilenet.models.importer.graph import Graph, Node
from tvm_mobilenet.models.importer.roundings import ROUND
from tvm_mobilenet.models.layers import Activation

ACTIVATION = "Activation"
"""Operator of the nodes made here; its attribute of that name says which."""

Float64 = NDArray[np.float64]

# Every piece of the functions in question has points, and their corners, ±3 and 6, as well.
_GRID: Float64 = np.concatenate(
    [np.arange(-1024, 1025) / 64.0, [-1e38, -1e6, -1e2, 1e2, 1e6, 1e38]]
)
_AGREES = 1e-6
"""Relative to 1 + |value|: constants such as 1/6 are float32 in the file."""
_LONGEST = 8
"""Nodes between the ends of a function, at most; the longest spelling seen has five."""


def recognise_activations(graph: Graph) -> None:
    """Replace the nodes of each activation by one, and drop those that compute nothing.

    before: ``Clip(x, 0, 6)``; ``Mul(x, HardSigmoid(x))``; …
    after: ``Activation(x)``, its attribute one of
    :data:`tvm_mobilenet.models.layers.Activation`
    """
    known = {str(name): activate(_GRID, name) for name in get_args(Activation)}
    functions = _functions(graph)
    readers = graph.readers()
    gone: set[int] = set()
    made: dict[int, Node] = {}
    for node in reversed(graph.nodes):
        if id(node) in gone or node.op == ROUND:
            continue
        for source, values in reversed([*functions.get(node.out, {}).items()][1:]):
            name = next((name for name, other in known.items() if _agree(values, other)), None)
            inside = _between(graph, readers, node, source) if name else None
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


def _agree(values: Float64, others: Float64) -> bool:
    return bool(np.all(np.abs(values - others) <= _AGREES * (1 + np.abs(others))))


def _functions(graph: Graph) -> dict[str, dict[str, Float64]]:
    """Return each tensor as functions of those before it: itself, then ever earlier ones."""
    found: dict[str, dict[str, Float64]] = {}
    for node in graph.nodes:
        for tensor in node.outputs:
            found[tensor] = {tensor: _GRID}
        rule = _RULES.get(node.op)
        if rule is None:
            continue
        operands: list[Any] = []
        for tensor in node.inputs:
            constant = graph.constants.get(tensor)
            if constant is not None and constant.size == 1:
                operands.append(float(constant.reshape(-1)[0]))
            elif not tensor or constant is not None:
                operands.append(None)
            else:
                operands.append(found.setdefault(tensor, {tensor: _GRID}))
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


def _between(
    graph: Graph, readers: dict[str, list[Node]], last: Node, source: str
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
    rounded = source in producers and producers[source].op == ROUND
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


_RULES: dict[str, Callable[[Node, _Values], Any]] = {
    ACTIVATION: lambda node, values: activate(values[0], node.attrs["activation"]),
    "Add": lambda _, values: values[0] + values[1],
    "Sub": lambda _, values: values[0] - values[1],
    "Mul": lambda _, values: values[0] * values[1],
    "Div": lambda _, values: values[0] / values[1],
    "Neg": lambda _, values: -values[0],
    "Min": _extreme(np.minimum),
    "Max": _extreme(np.maximum),
    "Relu": lambda _, values: np.maximum(values[0], 0.0),
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda _, values: activate(values[0], "hardswish"),
    ROUND: lambda _, values: values[0],
}
