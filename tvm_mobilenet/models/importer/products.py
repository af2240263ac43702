"""Products of matrices that are spelled otherwise become ``MatMul`` between transpositions."""

from __future__ import annotations

import math

import numpy as np

from tvm_mobilenet.models.importer.graph import Graph, Node
from tvm_mobilenet.models.layer import Shape


def spell_products(graph: Graph) -> None:
    """Rewrite what multiplies matrices, and no layer of ours takes as it is.

    before: ``Gemm(a, b, c)`` of two computed tensors, or of a transposed one;
    ``Einsum("bhid,bhjd->bhij", q, k)``
    after: ``MatMul`` of transpositions, scaled and shifted; weights stay a ``Gemm``

    An ``Einsum`` that sums within one operand, or takes a diagonal, stays what it is.
    """
    nodes: list[Node] = []
    for node in graph.nodes:
        rule = {"Einsum": _einsum, "Gemm": _gemm}.get(node.op)
        floats = rule is not None and graph.dtype(node.out) == "float32"
        made = rule(_Writer(graph, node)) if floats and rule is not None else None
        nodes += made or [node]
    graph.keep(nodes)


class _Writer:
    """Writes the nodes in place of one."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.graph, self.node = graph, node
        self.nodes: list[Node] = []

    def add(self, op: str, inputs: list[str], shape: Shape, **attrs: object) -> str:
        """Add a node; return what it computes."""
        out = self.graph.fresh(f"{self.node.out}.{op.lower()}")
        self.graph.types[out] = ("float32", shape)
        self.nodes.append(Node(op, out, inputs, [out], dict(attrs)))
        return out

    def transposed(self, tensor: str, perm: list[int]) -> str:
        """Return a tensor with its axes in another order."""
        if perm == sorted(perm):
            return tensor
        graph = self.graph
        if (value := graph.constants.get(tensor)) is not None:
            return graph.add_constant(
                f"{tensor}.turned", np.ascontiguousarray(value.transpose(perm))
            )
        shape = graph.shape(tensor)
        return self.add("Transpose", [tensor], tuple(shape[axis] for axis in perm), perm=perm)

    def viewed(self, tensor: str, shape: Shape) -> str:
        """Return a tensor by another shape."""
        graph = self.graph
        if graph.shape(tensor) == shape:
            return tensor
        if (value := graph.constants.get(tensor)) is not None:
            return graph.add_constant(f"{tensor}.shaped", value.reshape(shape))
        target = graph.add_constant(f"{self.node.out}.shape", np.array(shape, np.int64))
        return self.add("Reshape", [tensor, target], shape)

    def scaled(self, tensor: str, factor: float) -> str:
        """Return a tensor times a number."""
        graph = self.graph
        if factor == 1.0:
            return tensor
        if (value := graph.constants.get(tensor)) is not None:
            return graph.add_constant(f"{tensor}.scaled", value * np.float32(factor))
        number = graph.add_constant(f"{self.node.out}.factor", np.array(factor, np.float32))
        return self.add("Mul", [tensor, number], graph.shape(tensor))

    def finished(self) -> list[Node]:
        """Return the nodes, the last of which computes what the one before did."""
        self.nodes[-1].outputs, self.nodes[-1].name = [self.node.out], self.node.name
        return self.nodes


def _gemm(w: _Writer) -> list[Node] | None:
    graph, node, attrs = w.graph, w.node, w.node.attrs
    one, other = node.inputs[:2]
    turned = bool(attrs.get("transA", 0))
    if one in graph.constants and other in graph.constants:
        return None
    if turned:
        one = w.transposed(one, [1, 0])
    if other in graph.constants:  # weights: a dense layer
        if not turned:
            return None
        kept = {name: value for name, value in attrs.items() if name != "transA"}
        w.nodes.append(Node("Gemm", node.name, [one, *node.inputs[1:]], [node.out], kept))
        return w.nodes
    if attrs.get("transB", 0):
        other = w.transposed(other, [1, 0])
    shape = graph.shape(node.out)
    out = w.scaled(w.add("MatMul", [one, other], shape), float(attrs.get("alpha", 1.0)))
    if node.input(2):
        w.add("Add", [out, w.scaled(node.inputs[2], float(attrs.get("beta", 1.0)))], shape)
    return w.finished()


def _einsum(w: _Writer) -> list[Node] | None:
    graph, node = w.graph, w.node
    equation = node.attrs.get("equation", b"")
    text = equation.decode() if isinstance(equation, bytes) else str(equation)
    read, arrow, result = text.replace(" ", "").partition("->")
    terms = read.split(",")
    if len(terms) != 2 or not arrow or "." in text:
        return None
    one, other = terms
    if any(len(set(term)) < len(term) for term in (one, other, result)):
        return None
    sizes = {
        letter: size
        for term, tensor in zip(terms, node.inputs, strict=True)
        for letter, size in zip(term, graph.shape(tensor), strict=True)
    }
    both = [c for c in one if c in other]
    stack, summed = [c for c in both if c in result], [c for c in both if c not in result]
    rows, columns = ([c for c in a if c not in b] for a, b in ((one, other), (other, one)))
    if not summed or sorted(result) != sorted([*stack, *rows, *columns]):
        return None

    def matrix(tensor: str, term: str, *groups: list[str]) -> str:
        moved = w.transposed(tensor, [term.index(c) for group in groups for c in group])
        shape = [*(sizes[c] for c in stack), *(count(group) for group in groups[1:])]
        return w.viewed(moved, tuple(shape))

    def count(letters: list[str]) -> int:
        return math.prod(sizes[c] for c in letters)

    operands = [
        matrix(node.inputs[0], one, stack, rows, summed),
        matrix(node.inputs[1], other, stack, summed, columns),
    ]
    order = [*stack, *rows, *columns]
    shape = (*(sizes[c] for c in stack), count(rows), count(columns))
    out = w.viewed(w.add("MatMul", operands, shape), tuple(sizes[c] for c in order))
    w.transposed(out, [order.index(c) for c in result])
    return w.finished()
