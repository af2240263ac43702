"""NHWC becomes NCHW: transpositions move down until they meet their inverse, or the end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tvm_mobilenet.models.importer.graph import Graph, Node
from tvm_mobilenet.models.importer.roundings import ROUND
from tvm_mobilenet.models.importer.simplify import is_view, perm_of, reduced_axes

_ONE_BY_ONE = {
    "Abs", "Cast", "Ceil", "Celu", "Clip", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu",
    "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish", "Neg", "Reciprocal", "Relu", "Round",
    "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Tanh", "ThresholdedRelu",
}  # fmt: skip
_BROADCASTING = {"Add", "Div", "Max", "Min", "Mul", "PRelu", "Pow", "Sub"}
_REDUCTIONS = {"ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"}


def sink_transposes(graph: Graph) -> None:
    """Move every ``Transpose`` behind what can as well be computed before it.

    before: ``y = Relu(Transpose(x))``, ``z = Conv(Transpose⁻¹(y))``
    after: ``z = Conv(Relu(x))``

    Element-wise operators, those with a constant, ``Concat``, reductions, ``Softmax`` and
    ``Pad`` are computed in the order of axes that their input has; what they computed keeps
    its name behind the transposition, and the new tensor's ends in ``.nchw``.

    It ends because it is one walk over the nodes of the file, each behind those that it reads.
    A node that is rewritten reads no ``Transpose`` any more: what the transpositions in front
    of it read is none, because two in a row have become one when the second was met, and what
    is moved to the other order for free is moved by a ``Reshape``. The transposition
    that it leaves stands behind it, where only nodes that are still to come can read it.
    """
    producers: dict[str, Node] = {}
    walked: list[Node] = []
    for node in graph.nodes:
        for made in _settled(graph, producers, node):
            walked.append(made)
            producers.update(dict.fromkeys(made.outputs, made))
    graph.keep(walked)


def _settled(graph: Graph, producers: dict[str, Node], node: Node) -> list[Node]:
    """Return what takes the place of a node: itself, if no transposition can pass it."""
    before = [producers[tensor] for tensor in node.inputs if tensor in producers]
    before = [source for source in before if source.op == "Transpose"]
    if node.op == "Transpose" and before:
        (first,) = before
        perm = perm_of(graph, first)
        both = [perm[axis] for axis in perm_of(graph, node)]
        if both == sorted(both):
            graph.rename(node.out, first.inputs[0])
            return []
        return [Node("Transpose", node.name, [first.inputs[0]], node.outputs, {"perm": both})]
    rule = _RULES.get(node.op)
    if rule is None or len(node.outputs) != 1:
        return [node]
    orders = dict.fromkeys((_is_free(graph, source), *perm_of(graph, source)) for source in before)
    for _, *perm in sorted(orders):  # those that cost something first
        moved = rule(graph, producers, node, perm)
        if moved is not None:
            return moved
    return [node]


def _is_free(graph: Graph, transpose: Node) -> bool:
    return is_view(graph.shape(transpose.inputs[0]), perm_of(graph, transpose))


_Rule = Callable[[Graph, "dict[str, Node]", Node, "list[int]"], "list[Node] | None"]


def _behind(graph: Graph, producers: dict[str, Node], tensor: str, perm: list[int]) -> str | None:
    """Return what a tensor is the transposition of, None if it is not one in this order."""
    node = producers.get(tensor)
    ours = node is not None and node.op == "Transpose" and perm_of(graph, node) == perm
    return node.inputs[0] if ours and node is not None else None


def _swapped(graph: Graph, node: Node, inputs: list[str], perm: list[int]) -> list[Node]:
    """Compute a node on other inputs, and transpose what it gives."""
    inner = graph.fresh(f"{node.out}.nchw")
    dtype, shape = graph.types[node.out]
    graph.types[inner] = (dtype, tuple(shape[perm.index(axis)] for axis in range(len(perm))))
    name = f"{node.name}.nchw"
    return [
        Node(node.op, name, inputs, [inner], node.attrs),
        Node("Transpose", node.name, [inner], [node.out], {"perm": perm}),
    ]


def _one_by_one(
    graph: Graph, producers: dict[str, Node], node: Node, perm: list[int]
) -> list[Node] | None:
    source = _behind(graph, producers, node.inputs[0], perm)
    if source is None or any(name and name not in graph.constants for name in node.inputs[1:]):
        return None
    return _swapped(graph, node, [source, *node.inputs[1:]], perm)


def _rounding(
    graph: Graph, producers: dict[str, Node], node: Node, perm: list[int]
) -> list[Node] | None:
    """Leave the image alone: it would be rounded, then transposed, and rounded again to be read."""
    if _behind(graph, producers, node.inputs[0], perm) == graph.input:
        return None
    return _one_by_one(graph, producers, node, perm)


def _broadcasting(
    graph: Graph, producers: dict[str, Node], node: Node, perm: list[int]
) -> list[Node] | None:
    """Transpose what the other operands are, if that costs nothing."""
    rank = len(perm)
    if len(graph.shape(node.out)) != rank:
        return None
    inputs, extra = [], []
    for tensor in node.inputs:
        source = _behind(graph, producers, tensor, perm)
        shape = graph.shape(tensor)
        if source is not None:
            inputs.append(source)
            continue
        full = (1,) * (rank - len(shape)) + shape
        back = [perm.index(axis) for axis in range(rank)]
        if tensor in graph.constants:
            value = graph.constants[tensor]
            if value.size > 1:
                value = np.ascontiguousarray(value.reshape(full).transpose(back))
                tensor = graph.add_constant(f"{tensor}.nchw", value)  # noqa: PLW2901
            inputs.append(tensor)
            continue
        if len(shape) != rank or not is_view(shape, back):
            return None
        moved = tuple(full[axis] for axis in back)
        inner = graph.fresh(f"{tensor}.nchw")
        graph.types[inner] = (graph.dtype(tensor), moved)
        target = graph.add_constant(f"{inner}.shape", np.array(moved, np.int64))
        extra.append(Node("Reshape", inner, [tensor, target], [inner]))
        inputs.append(inner)
    return [*extra, *_swapped(graph, node, inputs, perm)]


def _reduction(
    graph: Graph, producers: dict[str, Node], node: Node, perm: list[int]
) -> list[Node] | None:
    source, axes = _behind(graph, producers, node.inputs[0], perm), reduced_axes(graph, node)
    if source is None or axes is None:
        return None
    moved = sorted(perm[axis] for axis in axes)
    inputs, attrs = [source], {k: v for k, v in node.attrs.items() if k != "axes"}
    if node.input(1):
        inputs.append(graph.add_constant(f"{node.out}.axes", np.array(moved, np.int64)))
    else:
        attrs["axes"] = moved
    inner = Node(node.op, node.name, inputs, node.outputs, attrs)
    if len(graph.shape(node.out)) == len(perm):
        return _swapped(graph, inner, inputs, perm)
    rest = [perm[axis] for axis in range(len(perm)) if axis not in axes]
    return [inner] if rest == sorted(rest) else None


def _concat(
    graph: Graph, producers: dict[str, Node], node: Node, perm: list[int]
) -> list[Node] | None:
    inputs = []
    for tensor in node.inputs:
        source = _behind(graph, producers, tensor, perm)
        if source is None:
            return None
        inputs.append(source)
    axis = perm[int(node.attrs["axis"]) % len(perm)]
    return _swapped(graph, Node(node.op, node.name, inputs, node.outputs, {"axis": axis}), inputs,
                    perm)  # fmt: skip


def _softmax(
    graph: Graph, producers: dict[str, Node], node: Node, perm: list[int]
) -> list[Node] | None:
    source = _behind(graph, producers, node.inputs[0], perm)
    if source is None or graph.opset < 13:  # there it flattens what stands behind the axis
        return None
    axis = perm[int(node.attrs.get("axis", -1)) % len(perm)]
    inner = Node(node.op, node.name, [source], node.outputs, {"axis": axis})
    return _swapped(graph, inner, [source], perm)


def _pad(
    graph: Graph, producers: dict[str, Node], node: Node, perm: list[int]
) -> list[Node] | None:
    source = _behind(graph, producers, node.inputs[0], perm)
    pads = node.attrs.get("pads")
    if node.input(1):
        pads = graph.constants.get(node.input(1))
    if source is None or pads is None or node.input(3):
        return None
    back = [perm.index(axis) for axis in range(len(perm))]
    moved = np.asarray(pads, np.int64).reshape(2, -1)[:, back].ravel()
    inputs, attrs = [source, *node.inputs[1:]], dict(node.attrs)
    if node.input(1):
        inputs[1] = graph.add_constant(f"{node.out}.pads", moved)
    else:
        attrs["pads"] = moved.tolist()
    return _swapped(graph, Node(node.op, node.name, inputs, node.outputs, attrs), inputs, perm)


_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_ONE_BY_ONE, _one_by_one),
    **dict.fromkeys(_BROADCASTING, _broadcasting),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    ROUND: _rounding,
    "Concat": _concat,
    "Softmax": _softmax,
    "Pad": _pad,
}
