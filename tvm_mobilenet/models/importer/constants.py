"""Nodes that read constants alone: computed by onnx's evaluator, unless too large."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tvm_mobilenet.errors import UnjudgedError, UnsupportedOperatorError
from tvm_mobilenet.models.importer.elements import note_elements
from tvm_mobilenet.models.importer.graph import Array, Graph, Node, to_proto

if TYPE_CHECKING:
    import onnx

_ROOM, _TIMES = 2**28, 16
"""Bytes that computed constants may take together: so many, and so many for each number that the
file holds, which may be computed with several times."""
_NO_LARGER = {"Compress", "NonZero", "Unique"}
"""Operators whose output is as long as the numbers say, and no longer than the input."""


def fold_constants(graph: Graph, room: Room) -> bool:
    """Compute what needs no image; whether anything was."""
    kept = []
    for node in graph.nodes:
        values = values_of(graph, node, room)
        if values is None:
            kept.append(node)
            continue
        graph.constants.update(
            (name, value) for name, value in zip(node.outputs, values, strict=False) if name
        )
        note_elements(graph, node)
    folded = len(kept) < len(graph.nodes)
    graph.nodes = kept
    return folded


def values_of(graph: Graph, node: Node, room: Room) -> list[Array] | None:
    """Return what a node computes, None if that needs the image."""
    source = node.input(0)
    if node.op in ("Shape", "Size") and source in graph.types and source not in graph.constants:
        shape = graph.shape(source)
        if node.op == "Size":
            return [np.array(int(np.prod(shape)), np.int64)]
        first, last = node.attrs.get("start", 0), node.attrs.get("end")
        return [np.array(shape[first:last], np.int64)]
    if node.op == "Identity" and source in graph.constants:
        return [graph.constants[source]]
    if any(name and name not in graph.constants for name in node.inputs):
        return None
    return evaluate(graph, node, room)


class Room:
    """The memory that is left for constants computed from those of a file.

    Parameters
    ----------
    numbers : int
        How many numbers the tensors of the file have.
    """

    def __init__(self, numbers: int) -> None:
        self._left = _ROOM + _TIMES * numbers

    def take(self, node: Node, model: onnx.ModelProto) -> None:
        """Refuse a node whose outputs are too large, or of a size that nobody knows before.

        Parameters
        ----------
        model : onnx.ModelProto
            The node alone, with its constants; types of its outputs left open.

        Raises
        ------
        UnsupportedOperatorError
            The outputs are too large, or their size depends on values.
        """
        from onnx import helper, shape_inference

        told = f"the node {node.name!r}, {node.op}, makes a constant"
        size = 0
        for value in shape_inference.infer_shapes(model).graph.output:
            kind = value.type.tensor_type
            dims = kind.shape.dim
            if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
                item = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).itemsize
                size += math.prod((item, *(dim.dim_value for dim in dims)))
            elif node.op not in _NO_LARGER:
                raise UnsupportedOperatorError(
                    f"{told} of a size that is not known before", "export the model again"
                )
        if size > self._left:
            raise UnsupportedOperatorError(
                f"{told} of {size / 2**20:.1f} MiB; {self._left / 2**20:.1f} are left for what is "
                f"computed from the constants of the file",
                "export the model without that constant, or with it in the file",
            )
        self._left -= size


def evaluate(graph: Graph, node: Node, room: Room) -> list[Array]:
    """Compute a node whose inputs are constants.

    Raises
    ------
    UnsupportedOperatorError
        onnx's evaluator cannot, or there is no room for what it would make.
    """
    from tvm_mobilenet.models.evaluator import run_node

    room.take(node, graph.model([node]))
    constants = {name: graph.constants[name] for name in node.inputs if name}
    try:
        return run_node(to_proto(node), graph.opset, constants, {}, double=False)
    except UnjudgedError as error:
        raise UnsupportedOperatorError(
            f"the node {node.name!r}, {node.op}, cannot be computed: {error.what}",
            "export the model again",
        ) from error
