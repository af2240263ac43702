"""One node while it is rewritten in terms of other operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tvm_mobilenet.errors import UnsupportedOperatorError
from tvm_mobilenet.models.importer.graph import Array, Graph, Node


class Expansion:
    """One node's graph while it is being rewritten.

    Parameters
    ----------
    graph : Graph
        The graph of this node alone, with typed inputs and its constants.
    at : int
        Which of its outputs counts.
    """

    def __init__(self, graph: Graph, node: Node, at: int) -> None:
        self.graph, self.node, self.at = graph, node, at
        self.nodes: list[Node] = []

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first input."""
        return self.graph.shape(self.node.inputs[0])

    def op(self, kind: str, *inputs: str | Array, **attrs: Any) -> str:
        """Append a node, constants given as arrays; return its output."""
        names = [self.const(i) if isinstance(i, np.ndarray) else i for i in inputs]
        out = f"e{len(self.nodes)}"
        self.nodes.append(Node(kind, out, names, [out], attrs))
        return out

    def const(self, value: Array) -> str:
        """Store a constant; return its name."""
        name = f"k{len(self.graph.constants)}"
        self.graph.constants[name] = value
        return name

    def floats(self, value: Any) -> Array:
        """Return a number of the first input's type."""
        return np.asarray(value, self.graph.dtype(self.node.inputs[0]))

    def text(self, name: str, default: str) -> str:
        """Return an attribute that is a word."""
        value = self.node.attrs.get(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)

    def constant(self, at: int) -> Array | None:
        """Return an input that is a constant; None where there is none, or an empty one."""
        value = self.graph.constants.get(self.node.input(at))
        return value if value is not None and value.size else None

    def axis(self, default: int = -1, name: str = "axis") -> int:
        """Return an attribute that is an axis, not negative."""
        return int(self.node.attrs.get(name, default)) % len(self.shape)

    def refuse(self, why: str) -> UnsupportedOperatorError:
        """Return the error that names the node."""
        return UnsupportedOperatorError(
            f"the node {self.node.name!r}, {self.node.op}, {why}",
            "export the model without it, or cut the model before it",
        )


Rule = Callable[[Expansion], "str | None"]
"""Appends what computes a node's output and returns that; None for the node as it is."""
