"""Layer normalisations, however spelled, become the operator that opset 17 has for them."""

from __future__ import annotations

import numpy as np

from tvm_mobilenet.models.importer.graph import Array, Graph, Node
from tvm_mobilenet.models.importer.simplify import reduced_axes

LAYER_NORM = "LayerNormalization"


def recognise_layer_norms(graph: Graph) -> None:
    """Replace what normalises the last axis by means and a root by one node.

    before: ``d = Sub(x, ReduceMean(x))``, ``Div(d, Sqrt(Add(ReduceMean(Pow(d, 2)), eps)))``, then
    perhaps a ``Mul`` and an ``Add`` by constants of one axis
    after: ``LayerNormalization(x)``
    """
    finder = _Finder(graph)
    # The longest first: what it has in it, nobody reads any more.
    made = {id(node): found for node in reversed(graph.nodes) if (found := finder.whole(node))}
    graph.keep([made.get(id(node), node) for node in graph.nodes])


class _Finder:
    def __init__(self, graph: Graph) -> None:
        self._graph, self._producers = graph, graph.producers()

    def whole(self, last: Node) -> Node | None:
        """Return the node instead of one that ends a normalisation; None for others."""
        quotient, beta = self._with_constant(last, "Add")
        scaled, gamma = self._with_constant(quotient, "Mul")
        found = self._quotient(scaled) if scaled is not None else None
        if found is None or last.out not in self._graph.types:
            return None
        source, epsilon = found
        channels = self._graph.shape(source)[-1]
        parts = []
        for name, value, usual in (("scale", gamma, 1.0), ("bias", beta, 0.0)):
            value = np.full(channels, usual) if value is None else value  # noqa: PLW2901
            if value.size not in (1, channels) or value.shape[-1:] not in ((), (1,), (channels,)):
                return None
            vector = np.broadcast_to(value.reshape(-1), (channels,)).astype(np.float32)
            parts.append(self._graph.add_constant(f"{last.out}.{name}", vector))
        attrs = {"axis": -1, "epsilon": epsilon}
        return Node(LAYER_NORM, last.name, [source, *parts], [last.out], attrs)

    def _with_constant(self, node: Node | None, op: str) -> tuple[Node | None, Array | None]:
        """Return what a node scales or shifts, and by what; the node itself if it does not."""
        if node is None or node.op != op:
            return node, None
        constants = [self._graph.constants.get(tensor) for tensor in node.inputs]
        known = [value for value in constants if value is not None]
        if len(known) != 1 or known[0].dtype != np.float32 or not np.isfinite(known[0]).all():
            return node, None
        inside = node.inputs[0 if constants[0] is None else 1]
        return self._producers.get(inside), known[0]

    def _quotient(self, node: Node) -> tuple[str, float] | None:
        """Return what a quotient normalises, and what it adds to the variance."""
        if node.op != "Div" or self._graph.dtype(node.out) != "float32":
            return None
        away, root = (self._producers.get(tensor) for tensor in node.inputs)
        if away is None or away.op != "Sub" or root is None:
            return None
        raised, epsilon = self._with_constant(self._under(root), "Add")
        if raised is None or epsilon is None or epsilon.size != 1:
            return None
        source, mean = away.inputs
        squares = self._mean(raised)
        if self._mean(self._producers.get(mean)) != source or squares is None:
            return None
        square = self._producers.get(squares)
        if square is None or self._squared(square) != self._same(away, square):
            return None
        return source, float(epsilon.reshape(-1)[0])

    def _under(self, root: Node) -> Node | None:
        """Return what a square root is of."""
        half = self._graph.constants.get(root.input(1))
        power = root.op == "Pow" and half is not None and half.size == 1 and half.item() == 0.5
        return self._producers.get(root.inputs[0]) if root.op == "Sqrt" or power else None

    def _mean(self, node: Node | None) -> str | None:
        """Return what a node is the mean of, along the last axis, which it keeps."""
        if node is None or node.op != "ReduceMean" or not node.attrs.get("keepdims", 1):
            return None
        rank = len(self._graph.shape(node.inputs[0]))
        return node.inputs[0] if reduced_axes(self._graph, node) == [rank - 1] else None

    def _squared(self, node: Node) -> str | None:
        if node.op == "Mul" and node.inputs[0] == node.inputs[1]:
            return node.inputs[0]
        two = self._graph.constants.get(node.input(1))
        power = node.op == "Pow" and two is not None and two.size == 1 and two.item() == 2
        return node.inputs[0] if power else None

    def _same(self, away: Node, square: Node) -> str:
        """Return the difference that is squared, which may have been computed a second time."""
        other = self._producers.get(square.inputs[0])
        twice = other is not None and other.op == "Sub" and other.inputs == away.inputs
        return other.out if other is not None and twice else away.out
