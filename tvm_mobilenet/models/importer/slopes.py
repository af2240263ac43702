"""PReLU of one slope a channel, however it is spelled: recognised by what it computes.

As for :mod:`tvm_mobilenet.models.importer.activations`, but constants may be one number a channel,
and a function is then one for each: ``Relu(x) - slope * Relu(-x)``, say, as Keras exports it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tvm_mobilenet.models.importer.activations import RULES, between, functions_of, only_number
from tvm_mobilenet.models.importer.fits import Float64
from tvm_mobilenet.models.importer.graph import Array, Graph, Node
from tvm_mobilenet.models.layer import Shape

_GRID: Float64 = np.array([[-1e6, -7.0, -1.0, -0.125, 0.0, 0.125, 1.0, 7.0, 1e6]])
_AT_MINUS_ONE = 2
_AGREES = 1e-6
"""Relative to 1 + |value|."""


def recognise_slopes(graph: Graph) -> None:
    """Replace the nodes of each such PReLU by one.

    before: ``Add(Relu(x), Mul(slope, Min(x, 0)))``; …
    after: ``PRelu(x, slope)``
    """
    functions = _functions(graph)
    readers = graph.readers()
    gone: set[int] = set()
    made: dict[int, Node] = {}
    for node in reversed(graph.nodes):
        if id(node) in gone or node.op == "PRelu" or graph.dtype(node.out) != "float32":
            continue
        for source, values in reversed([*functions.get(node.out, {}).items()][1:]):
            slope = _slope(values)
            if slope is None or graph.shape(source) != graph.shape(node.out):
                continue
            inside = between(graph, readers, node, source)
            if inside is not None:
                gone.update(map(id, inside))
                value = slope.astype(np.float32).reshape(-1, 1, 1)
                constant = graph.add_constant(f"{node.out}.slope", value)
                made[id(node)] = Node("PRelu", node.name, [source, constant], [node.out])
                break
    if made:
        graph.keep([made.get(id(node), node) for node in graph.nodes if id(node) not in gone])


def _slope(values: Float64) -> Float64 | None:
    """Return (channels,) slopes if these are PReLUs, else None.

    One for all is no business here, nor are slopes that are all 0 or all 1: biases that happen to
    be 0, with a ReLU or without.
    """
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    slope = -values[:, _AT_MINUS_ONE]
    wanted = np.where(_GRID < 0, slope[:, None] * _GRID, _GRID)
    near = np.abs(values - wanted) <= _AGREES * (1 + np.abs(wanted))
    plain = bool(np.isin(slope, (0.0, 1.0)).all() and np.ptp(slope) == 0)
    return slope if near.all() and not plain else None


def _functions(graph: Graph) -> dict[str, dict[str, Float64]]:
    """Return each map as functions of those before it: (channels or 1, points of the grid)."""
    return functions_of(
        graph, RULES, _GRID, lambda value, node: _by_channel(value, graph.shape(node.out))
    )


def _by_channel(value: Array, shape: Shape) -> Any:
    """Return a constant beside a map as a number or (channels, 1); None if it is neither."""
    if value.dtype != np.float32:
        return None
    if value.size == 1:
        return only_number(value)
    full = (1,) * (4 - value.ndim) + value.shape
    by_channel = len(shape) == 4 and full == (1, shape[1], 1, 1)
    return value.reshape(-1, 1).astype(np.float64) if by_channel else None
