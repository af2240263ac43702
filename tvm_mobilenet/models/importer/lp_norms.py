"""Tensors over the Euclidean norms of their last axis, as PyTorch spells them, become one node."""

from __future__ import annotations

from tvm_mobilenet.models.importer.graph import Graph, Node
from tvm_mobilenet.models.importer.simplify import reduced_axes

LP_NORM = "LpNormalization"
LEAST = "least"
"""What :data:`LP_NORM` has here beside ONNX's attributes: what is divided by instead of less."""


def recognise_lp_norms(graph: Graph) -> None:
    """Replace what is over its norm, or over a number where the norm is smaller, by one node.

    before: ``Div(x, Expand(Clip(ReduceL2(x), 1e-12)))``; ``Max`` in place of ``Clip``, or no
    ``Expand``
    after: ``LpNormalization(x)``

    Without that number a row of zeros would become NaN, and is left as it is.
    """
    producers = graph.producers()
    graph.keep([_normalised(graph, producers, node) or node for node in graph.nodes])


def _normalised(graph: Graph, producers: dict[str, Node], node: Node) -> Node | None:
    if node.op != "Div" or node.inputs[0] not in graph.types:
        return None
    source, divisor = node.inputs
    if graph.dtype(source) != "float32" or graph.shape(source) != graph.shape(node.out):
        return None
    raised = producers.get(divisor)
    if raised is not None and raised.op == "Expand":
        raised = producers.get(raised.inputs[0])
    found = _floor(graph, raised) if raised is not None else None
    norm = producers.get(found[0]) if found is not None else None
    if found is None or norm is None or norm.op != "ReduceL2" or norm.inputs[0] != source:
        return None
    last = len(graph.shape(source)) - 1
    if not norm.attrs.get("keepdims", 1) or reduced_axes(graph, norm) != [last]:
        return None
    return Node(LP_NORM, node.name, [source], [node.out], {"axis": last, "p": 2, LEAST: found[1]})


def _floor(graph: Graph, node: Node) -> tuple[str, float] | None:
    """Return what a node keeps from being too small, and what it must be at least."""
    if node.op == "Clip" and not node.input(2):
        source, bound = node.inputs[0], node.input(1)
    elif node.op == "Max" and len(node.inputs) == 2:
        source, bound = node.inputs
        if source in graph.constants:
            source, bound = bound, source
    else:
        return None
    value = graph.constants.get(bound)
    usable = value is not None and value.size == 1 and 0 < value.item() < float("inf")
    return (source, float(value.item())) if value is not None and usable else None
