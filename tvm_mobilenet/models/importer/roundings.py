"""Elements become the numbers that they stand for: what is left of a quantised graph is rounding.

A value that a file quantises and dequantises is a value that is rounded to a type. What stands
between the two steps and moves elements, such as a ``Transpose``, moves numbers as well.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from tvm_mobilenet.errors import OnnxFileError, UnsupportedOperatorError
from tvm_mobilenet.machine import RANGES
from tvm_mobilenet.models.importer.elements import DEQUANTIZE, QUANTIZE, type_of
from tvm_mobilenet.models.importer.graph import Graph, Node
from tvm_mobilenet.models.tensors import TensorType

ROUND = "Round8"
"""Operator of the nodes made here; its attribute ``type`` says to what a value is rounded."""

_RANKS = (2, 4)
"""Axes of what can be rounded: kernels know NC and NCHW, and a view makes rows of all else."""

MOVING = {
    "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape",
    "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
}  # fmt: skip
"""Operators that give some of the elements that they read, and no others."""


def moves(graph: Graph, node: Node) -> bool:
    """Whether a node gives numbers that it reads, and besides at most 0: every type has these."""
    if node.op != "Pad":
        return node.op in MOVING
    name = node.input(2)
    border = graph.constants.get(name) if name else np.array(node.attrs.get("value", 0.0))
    return border is not None and not border.any()


def rounded_values(graph: Graph) -> dict[str, TensorType]:
    """Return to what tensors are rounded: what rounds them, and what only moves such."""
    found: dict[str, TensorType] = {}
    for node in graph.nodes:
        if node.op == ROUND:
            found[node.out] = type_of_rounding(node)
        elif moves(graph, node):
            data = node.inputs if node.op == "Concat" else node.inputs[:1]
            types = {found.get(name) for name in data}
            of = types.pop() if len(types) == 1 else None
            if of is not None:
                found.update((out, of) for out in node.outputs if graph.dtype(out) == "float32")
    return found


def type_of_rounding(node: Node) -> TensorType:
    """Return the type to which a node rounds."""
    return cast("TensorType", node.attrs["type"])


def to_roundings(graph: Graph) -> None:
    """Replace the steps of a quantised graph, whose constants and types are known.

    before: ``q = QuantizeLinear(x)``, ``y = DequantizeLinear(q)``
    after: ``q = Round8(x)``, and who read ``y`` reads ``q``, which is float32

    Equal roundings of one value become one, and so does one of what is rounded so already. An
    image of bytes, which is of elements already, is rounded as well; moved before it is
    dequantised, it is cast, shifted and scaled. An output of elements becomes one of float32.

    Raises
    ------
    OnnxFileError
        A scale cannot be, or elements are dequantised by another than they were made by.
    UnsupportedOperatorError
        A node computes with elements, or its scale depends on the image, or the type is none
        of 8 bits with one scale.
    """
    _Roundings(graph).walk()


class _Roundings:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes: list[Node] = []
        self._types: dict[str, TensorType] = {}
        """What tensors are elements of in the file, which are numbers now."""
        self._made: dict[tuple[str, TensorType], str] = {}
        self._of: dict[str, TensorType] = {}
        """To what numbers are rounded."""
        self._instead: dict[str, str] = {}
        """What reads the first shall read the second, when all nodes have been looked at."""

    def walk(self) -> None:
        """Rewrite every node, each behind those that it reads."""
        for node in self._graph.nodes:
            if node.op == QUANTIZE:
                self._quantize(node)
            elif node.op == DEQUANTIZE:
                self._dequantize(node)
            elif self._types.keys() & set(node.inputs):
                self._move(node)
            else:
                self._keep(node)
        for node in self._nodes:
            node.inputs = [self._now(name) for name in node.inputs]
        self._graph.outputs = [self._now(name) for name in self._graph.outputs]
        self._graph.keep(self._nodes)

    def _now(self, name: str) -> str:
        while name in self._instead:
            name = self._instead[name]
        return name

    def _quantize(self, node: Node) -> None:
        graph, source = self._graph, node.inputs[0]
        to = type_of(graph, node, graph.dtype(node.out))
        self._types[node.out] = to
        self._round(node, source, to)

    def _round(self, node: Node, source: str, to: TensorType) -> None:
        graph, source = self._graph, self._now(source)
        same = source if self._of.get(source) == to else self._made.get((source, to))
        if same is not None:
            self._instead[node.out] = same
            return
        self._made[source, to] = node.out
        self._of[node.out] = to
        shape = graph.shape(source)
        graph.types[node.out] = ("float32", shape)
        if len(shape) in _RANKS:
            self._nodes.append(Node(ROUND, node.name, [source], [node.out], {"type": to}))
            return
        rows = shape[0] if len(shape) > 1 else 1
        flat = graph.fresh(f"{node.out}.flat")
        graph.types[flat] = ("float32", (rows, math.prod(shape) // rows))
        self._nodes.append(self._view(source, flat))
        rounded = graph.fresh(f"{node.out}.rounded")
        graph.types[rounded] = graph.types[flat]
        self._nodes.append(Node(ROUND, node.name, [flat], [rounded], {"type": to}))
        self._nodes.append(self._view(rounded, node.out))

    def _view(self, source: str, target: str) -> Node:
        sizes = np.array(self._graph.shape(target), np.int64)
        name = self._graph.add_constant(f"{target}.shape", sizes)
        return Node("Reshape", target, [source, name], [target])

    def _dequantize(self, node: Node) -> None:
        graph, source = self._graph, node.inputs[0]
        known = self._types.get(source)
        of = type_of(graph, node, graph.dtype(source) if known is None else known.dtype)
        if source == graph.input:
            self._round(node, source, of)
        elif known is None:
            self._round(node, self._numbers(node, source, of), of)
        elif of != known:
            raise OnnxFileError(
                f"the node {node.name!r}, {node.op}, takes {source!r} for {_told(of)}, and it was "
                f"made as {_told(known)}",
                "quantise the model again",
            )
        else:
            self._round(node, source, of)

    def _numbers(self, node: Node, source: str, of: TensorType) -> str:
        """Return what bytes of the image stand for."""
        graph, shape = self._graph, self._graph.shape(source)
        for operator, value in (("Cast", None), ("Sub", of.zero_point), ("Mul", of.scale[0])):
            made = graph.fresh(f"{node.out}.{operator}")
            graph.types[made] = ("float32", shape)
            step = Node(operator, made, [source], [made], {} if operator != "Cast" else {"to": 1})
            if value is not None:
                constant = np.array(value, np.float32)
                step.inputs.append(graph.add_constant(f"{made}.by", constant))
            self._nodes.append(step)
            source = made
        return source

    def _move(self, node: Node) -> None:
        graph = self._graph
        read = [name for name in node.inputs if name in self._types]
        types = {self._types[name] for name in read}
        data = node.inputs if node.op == "Concat" else node.inputs[:1]
        if node.op not in MOVING | {"Pad"} or len(types) > 1 or [*data] != read:
            raise UnsupportedOperatorError(
                f"the node {node.name!r}, {node.op}, reads {read[0]!r}, which is elements of "
                f"{_told(self._types[read[0]])}",
                "export it in a form that has a DequantizeLinear before what computes",
            )
        (of,) = types
        if node.op == "Pad":
            element = graph.constants.get(node.input(2), np.zeros(1)).ravel()[0]
            number = of.scale[0] * (float(element) - (of.zero_point or 0))
            filled = graph.add_constant(f"{node.out}.value", np.array(number, np.float32))
            node.inputs = [*node.inputs[:2], filled, *node.inputs[3:]]
        for out in filter(None, node.outputs):
            if graph.dtype(out) in RANGES:
                self._types[out] = of
                graph.types[out] = ("float32", graph.shape(out))
        self._keep(node)

    def _keep(self, node: Node) -> None:
        """Add a node; what it gives is rounded where it moves what is."""
        self._nodes.append(node)
        data = node.inputs if node.op == "Concat" else node.inputs[:1]
        types = {self._of.get(self._now(name)) for name in data}
        if len(types) == 1 and moves(self._graph, node) and (of := types.pop()) is not None:
            self._of.update(
                (out, of) for out in node.outputs if out and self._graph.dtype(out) == "float32"
            )


def _told(of: TensorType) -> str:
    return f"{of.dtype} of scale {of.scale[0]:g} and zero point {of.zero_point}"
