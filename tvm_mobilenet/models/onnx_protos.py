"""ONNX's own structures for the evaluator: a node alone, in double precision, and types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

Array = NDArray[Any]

_IR_VERSION = 8
"""IR version of models of one node, which every onnxruntime reads."""

_TYPED = ("to", "dtype")
"""Attributes that name a type."""


def alone(node: onnx.NodeProto, opset: int, inputs: Mapping[str, Array]) -> onnx.ModelProto:
    """Return a model of one node, its inputs typed as they are."""
    from onnx import helper

    def typed(name: str, value: Array) -> onnx.ValueInfoProto:
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        return helper.make_tensor_value_info(name, kind, value.shape)

    graph = helper.make_graph(
        [node],
        "one",
        [typed(name, np.asarray(value)) for name, value in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in node.output if name],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)


def doubled(node: onnx.NodeProto) -> onnx.NodeProto:
    """Return the node with every floating-point type of its attributes made double."""
    import onnx
    from onnx import TensorProto, numpy_helper

    floats = (TensorProto.FLOAT, TensorProto.FLOAT16)
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    for attribute in changed.attribute:
        if attribute.name in _TYPED and attribute.i in floats:
            attribute.i = TensorProto.DOUBLE
        elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type in floats:
            array = numpy_helper.to_array(attribute.t).astype(np.float64)
            attribute.t.CopyFrom(numpy_helper.from_array(array, attribute.t.name))
    return changed


def types_of(
    model: onnx.ModelProto,
) -> tuple[dict[str, np.dtype[Any]], dict[str, tuple[int, ...]]]:
    """Return types and shapes of tensors, as declared or inferred."""
    import onnx
    from onnx import helper

    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    graph = model.graph
    weights = [t for t in graph.initializer if t.data_type in floats]
    names = {value.name for value in graph.input}
    # Weights as inputs: inference would copy their bytes, and needs none of them.
    read = [
        helper.make_tensor_value_info(t.name, t.data_type, t.dims)
        for t in weights
        if t.name not in names
    ]
    kept = [t for t in graph.initializer if t.data_type not in floats]
    bare = helper.make_graph(graph.node, "types", [*graph.input, *read], graph.output, kept)
    light = helper.make_model(bare, opset_imports=model.opset_import, ir_version=_IR_VERSION)
    inferred = onnx.shape_inference.infer_shapes(light, data_prop=True)
    types = {t.name: t.data_type for t in graph.initializer}
    shapes = {}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        kind = value.type.tensor_type
        types.setdefault(value.name, kind.elem_type)
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    known = {n: np.dtype(helper.tensor_dtype_to_np_dtype(t)) for n, t in types.items() if t}
    return known, shapes
