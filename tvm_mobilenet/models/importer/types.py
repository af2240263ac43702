"""Whether every operator of a graph reads tensors of types that ONNX defines it for."""

from __future__ import annotations

from typing import Any

import numpy as np

from tvm_mobilenet.errors import OnnxFileError
from tvm_mobilenet.models.importer.graph import Graph, Node


def check_types(graph: Graph) -> None:
    """Refuse nodes whose operands are of types that do not go together.

    ONNX's own checks look at shapes and numbers of operands, not at types. The type of every
    tensor must be known.

    Raises
    ------
    OnnxFileError
        A type does not fit; the message names the node and the operand.
    """
    import onnx

    for node in graph.nodes:
        schema = onnx.defs.get_schema(node.op, graph.opset, "")
        if schema.inputs:
            _check_node(graph, node, schema)


def _check_node(graph: Graph, node: Node, schema: Any) -> None:
    allowed = {c.type_param_str: set(c.allowed_type_strs) for c in schema.type_constraints}
    bound: dict[str, str] = {}
    for at, tensor in enumerate(node.inputs):
        formal = schema.inputs[min(at, len(schema.inputs) - 1)]
        if not tensor:
            continue
        told = _name(graph.dtype(tensor))
        known = allowed.get(formal.type_str, {formal.type_str})
        same = bound.setdefault(formal.type_str, told) if formal.is_homogeneous else told
        if told not in known or told != same:
            raise OnnxFileError(
                f"the node {node.name!r}, {node.op}, reads {tensor!r}, a {told}, where "
                f"{same if told in known else 'other types'} should be",
                "export the model again",
            )


def _name(dtype: str) -> str:
    """Return ONNX's name of a type of NumPy's."""
    from onnx import TensorProto, helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return f"tensor({TensorProto.DataType.Name(kind).lower()})"
