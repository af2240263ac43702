"""What computes each row of tokens by itself does so on a matrix, whatever the tensor's rank.

A matrix of one row a token, (N, C), is what products with weights, softmaxes and normalisations
are layers on. To see a tensor so is a view, which costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tvm_mobilenet.models.importer.activations import ACTIVATION
from tvm_mobilenet.models.importer.graph import Array, Graph, Node
from tvm_mobilenet.models.importer.layer_norms import LAYER_NORM
from tvm_mobilenet.models.importer.lp_norms import LP_NORM
from tvm_mobilenet.models.layer import Shape

_BROADCASTING = ("Add", "Div", "Mul", "Sub")


def to_rows(graph: Graph) -> None:
    """Let what goes over rows read and write (N, C), and views of that move behind it.

    before: ``y = MatMul(x, w)``, x of three axes; ``Add(y, bias)``
    after: ``y = Reshape(Add(MatMul(Reshape(x), w), bias))``

    It is one walk over the nodes: those behind a view that has moved are still to come.
    """
    rows = _Rows(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        rule = _RULES.get(node.op)
        made = rule(rows, node) if rule is not None and len(node.outputs) == 1 else None
        nodes += [node] if made is None else made
        rows.remember(nodes[-1])
    graph.keep(nodes)


class _Rows:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._views: dict[str, str] = {}

    def remember(self, node: Node) -> None:
        """Note what is a view of a matrix with the same last axis."""
        if node.op != "Reshape" or node.inputs[0] in self.graph.constants:
            return
        before, after = self.graph.shape(node.inputs[0]), self.graph.shape(node.out)
        if len(before) == 2 and len(after) > 2 and before[-1] == after[-1]:
            self._views[node.out] = node.inputs[0]

    def matrix(self, tensor: str) -> str | None:
        """Return the matrix that a tensor is a view of."""
        return self._views.get(tensor)

    def computed(self, tensor: str) -> bool:
        graph = self.graph
        known = tensor in graph.types and tensor not in graph.constants
        return known and graph.dtype(tensor) == "float32"

    def flat(self, tensor: str) -> tuple[list[Node], str]:
        """Return a tensor as a matrix, and the node that makes it one where there must be one."""
        if (known := self.matrix(tensor)) is not None:
            return [], known
        shape = self.graph.shape(tensor)
        wanted = (math.prod(shape[:-1]), shape[-1])
        out = self.graph.fresh(f"{tensor}.rows")
        self.graph.types[out] = ("float32", wanted)
        return [self._view(out, tensor, out, wanted)], out

    def _view(self, name: str, source: str, out: str, shape: Shape) -> Node:
        target = self.graph.add_constant(f"{out}.shape", np.array(shape, np.int64))
        return Node("Reshape", name, [source, target], [out])

    def swapped(self, node: Node, inputs: list[str], op: str = "") -> list[Node]:
        """Compute a node on matrices, and view what it gives as it was."""
        shape = self.graph.shape(node.out)
        inner = self.graph.fresh(f"{node.out}.rows")
        self.graph.types[inner] = ("float32", (math.prod(shape[:-1]), shape[-1]))
        return [
            Node(op or node.op, f"{node.name}.rows", inputs, [inner], node.attrs),
            self._view(node.name, inner, node.out, shape),
        ]


def _product(rows: _Rows, node: Node) -> list[Node] | None:
    """Take a product with a matrix of weights."""
    graph, (source, other) = rows.graph, node.inputs
    weight = graph.constants.get(other)
    if weight is None or weight.ndim != 2 or not rows.computed(source):
        return None
    if len(graph.shape(source)) < 3:
        return None
    before, matrix = rows.flat(source)
    return [*before, *rows.swapped(node, [matrix, other])]


def _last_axis(rows: _Rows, node: Node) -> list[Node] | None:
    """Take what goes along the last axis, or along one behind which there are no others."""
    graph, source = rows.graph, node.inputs[0]
    shape = graph.shape(source)
    if not rows.computed(source) or len(shape) == 2:
        return None
    axis = int(node.attrs.get("axis", -1)) % len(shape)
    if node.op == LAYER_NORM and axis != len(shape) - 1:
        return None
    if node.op == LP_NORM and int(node.attrs.get("p", 2)) != 2:
        return None
    if math.prod(shape[axis + 1 :]) != 1:
        return None
    before, matrix = rows.flat(source) if axis == len(shape) - 1 else _along(rows, source, axis)
    alone = Node(node.op, node.name, node.inputs, node.outputs, node.attrs | {"axis": 1})
    made = rows.swapped(alone, [matrix, *node.inputs[1:]])
    graph.types[made[0].out] = graph.types[matrix]
    return [*before, *made]


def _softmax(rows: _Rows, node: Node) -> list[Node] | None:
    """Take a softmax along any axis, which is moved behind the others where it must be."""
    graph, source = rows.graph, node.inputs[0]
    shape = graph.shape(source)
    axis = int(node.attrs.get("axis", -1)) % max(len(shape), 1)
    if not rows.computed(source) or math.prod(shape[axis + 1 :]) == 1:
        return _last_axis(rows, node)
    perm = [*(other for other in range(len(shape)) if other != axis), axis]
    turned, inner = (graph.fresh(f"{tensor}.turned") for tensor in (source, node.out))
    for tensor in (turned, inner):
        graph.types[tensor] = ("float32", tuple(shape[other] for other in perm))
    last = Node(node.op, f"{node.name}.turned", [turned], [inner], node.attrs | {"axis": -1})
    back = [perm.index(other) for other in range(len(shape))]
    return [
        Node("Transpose", turned, [source], [turned], {"perm": perm}),
        *(_last_axis(rows, last) or [last]),
        Node("Transpose", node.name, [inner], [node.out], {"perm": back}),
    ]


def _along(rows: _Rows, source: str, axis: int) -> tuple[list[Node], str]:
    """Return a tensor as a matrix whose rows lie along an axis with nothing behind it."""
    graph = rows.graph
    shape = graph.shape(source)
    out = graph.fresh(f"{source}.rows")
    wanted = (math.prod(shape[:axis]), shape[axis])
    graph.types[out] = ("float32", wanted)
    target = graph.add_constant(f"{out}.shape", np.array(wanted, np.int64))
    return [Node("Reshape", out, [source, target], [out])], out


def _activation(rows: _Rows, node: Node) -> list[Node] | None:
    matrix = rows.matrix(node.inputs[0])
    return None if matrix is None else rows.swapped(node, [matrix])


def _broadcasting(rows: _Rows, node: Node) -> list[Node] | None:
    """Take sums and products of matrices, and of a matrix and a row or a number."""
    graph, shape = rows.graph, rows.graph.shape(node.out)
    if len(node.inputs) != 2 or not any(rows.matrix(tensor) for tensor in node.inputs):
        return None
    before: list[Node] = []
    inputs: list[str] = []
    for tensor in node.inputs:
        if tensor in graph.constants:
            row = _row(graph.constants[tensor], shape[-1])
            if row is None:
                return None
            inputs.append(graph.add_constant(f"{tensor}.row", row))
        elif rows.computed(tensor) and graph.shape(tensor) == shape:
            made, matrix = rows.flat(tensor)
            before += made
            inputs.append(matrix)
        else:
            return None
    return [*before, *rows.swapped(node, inputs)]


def _row(value: Array, channels: int) -> Array | None:
    """Return a constant that all rows share as one row."""
    if value.size == 1:
        return value.reshape(())
    return value.reshape(-1) if value.shape[-1] == channels == value.size else None


_RULES: dict[str, Callable[[_Rows, Node], list[Node] | None]] = {
    **dict.fromkeys(_BROADCASTING, _broadcasting),
    ACTIVATION: _activation,
    LAYER_NORM: _last_axis,
    LP_NORM: _last_axis,
    "MatMul": _product,
    "Softmax": _softmax,
}
