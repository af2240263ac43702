"""Outputs that no node computes: the image itself, views of it, and constants."""

from __future__ import annotations

from tvm_mobilenet.errors import OnnxFileError
from tvm_mobilenet.models.importer.graph import Graph, Node

COPY = "Identity"
"""Operator of the nodes made here."""


def own_outputs(graph: Graph) -> None:
    """Give every output a node that computes it, in memory of its own.

    before: the output is the image, a ``Reshape`` of it, or a constant
    after: ``Identity`` of that, which copies

    The graph must be simplified; it is changed.

    Raises
    ------
    OnnxFileError
        No output depends on the image.
    """
    if all(tensor in graph.constants for tensor in graph.outputs):
        raise OnnxFileError(
            f"the output {graph.titles[0]!r} does not depend on the image", "check the model"
        )
    producers = graph.producers()
    for at, tensor in enumerate(graph.outputs):
        root = tensor
        while root in producers and producers[root].op == "Reshape":
            root = producers[root].inputs[0]
        if root != graph.input and root not in graph.constants:
            continue
        out = graph.fresh(f"{graph.titles[at]}.copy")
        graph.types[out] = (graph.dtype(tensor), graph.shape(tensor))
        graph.nodes.append(Node(COPY, out, [tensor], [out]))
        graph.outputs[at] = out
