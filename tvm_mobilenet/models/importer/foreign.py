"""Operators without a layer of ours: a layer that contains its ONNX node as a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tvm_mobilenet.models.importer.graph import Array, Graph, Node, to_proto, value_info
from tvm_mobilenet.models.layer import Shape
from tvm_mobilenet.models.operator import Operator

_WEIGHTED = {
    "Add", "BatchNormalization", "Conv", "ConvTranspose", "Div", "Gemm",
    "InstanceNormalization", "LayerNormalization", "MatMul", "Max", "Min", "Mul", "PRelu", "Sub",
}  # fmt: skip
"""Operators whose float32 constants are weights; other constants are part of the node."""
_SHIFTING = {"Add", "Div", "Mul", "Sub"}
"""Those of them whose constant is a mask where it is not finite."""


def foreign(
    graph: Graph, node: Node, out: str, name: str, names: Mapping[str, str]
) -> tuple[Operator, dict[str, Array]]:
    """Return the layer of one output of a node, and its weights.

    Parameters
    ----------
    out : str
        The output, a tensor of the node.
    name : str
        Name that the layer gets.
    names : mapping of str to str
        Tensor to the layer that computes it.
    """
    # What reads constants alone is given the image, for every layer reads something.
    tensors = [t for t in dict.fromkeys(node.inputs) if t and t in names] or [graph.input]
    constants = [t for t in dict.fromkeys(node.inputs) if t in graph.constants]
    weights = [t for t in constants if node.op in _WEIGHTED and _is_weight(graph, node, t)]
    short = {t: f"x{i}" for i, t in enumerate(tensors)} | {
        t: f"w{i}" for i, t in enumerate(constants)
    }
    model = _alone_model(graph, node, out, short, fed=[*tensors, *weights])
    layer = Operator(
        name,
        tuple(names[t] for t in tensors),
        graph.shape(tensors[0]),
        node.op,
        tuple(graph.shape(t) for t in tensors[1:]),
        tuple(graph.dtype(t) for t in (*tensors, out)),
        graph.shape(out),
        tuple((short[t], graph.shape(t)) for t in weights),
        _work(graph, node),
        model.SerializeToString(deterministic=True),
    )
    return layer, {short[t]: graph.constants[t] for t in weights}


def _is_weight(graph: Graph, node: Node, tensor: str) -> bool:
    """Whether a constant is a parameter: what only shifts or scales may mask with infinities."""
    value = graph.constants[tensor]
    finite = bool(np.isfinite(value).all()) if value.dtype == np.float32 else False
    masks = node.op in _SHIFTING or tensor == node.input(2)
    return value.dtype == np.float32 and value.size > 1 and (finite or not masks)


def _alone_model(
    graph: Graph, node: Node, out: str, short: dict[str, str], *, fed: list[str]
) -> Any:
    """Return the node as a model of its own, whose inputs are `fed`; see :class:`Operator`."""
    at = node.outputs.index(out)
    inputs = [short.get(t, "") for t in node.inputs]
    # What stands behind the output that counts may be left out, and TVM's importer insists.
    outputs = [f"y{i}" if name and i == at else "" for i, name in enumerate(node.outputs[: at + 1])]
    if node.attrs.get("training_mode"):  # a batch norm, whose number of outputs is checked
        outputs = [f"y{i}" for i in range(3)]
    proto = to_proto(Node(node.op, node.name, inputs, outputs, node.attrs))
    inside = Graph("", [], [], [], {}, {}, graph.opset)
    embedded = {t: s for t, s in short.items() if t in graph.constants and t not in fed}
    inside.constants = {s: graph.constants[t] for t, s in embedded.items()}
    model = inside.model([])
    from onnx import numpy_helper

    model.graph.node.append(proto)
    model.graph.input.extend(value_info(short[t], graph.dtype(t), graph.shape(t)) for t in fed)
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in inside.constants.items()
    )
    model.graph.output.append(value_info(outputs[at], *graph.types[out]))
    return model


def _work(graph: Graph, node: Node) -> int:
    """Return the multiply-adds of a convolution or product, 0 of anything else."""
    pixels = math.prod(graph.shape(node.out))
    if node.op == "Conv":
        return pixels * math.prod(graph.shape(node.inputs[1])[1:])
    if node.op == "ConvTranspose":
        return math.prod(graph.shape(node.inputs[0])) * math.prod(graph.shape(node.inputs[1])[1:])
    if node.op in ("Gemm", "MatMul"):
        shape: Shape = graph.shape(node.inputs[0])
        return pixels * shape[0 if node.attrs.get("transA", 0) else -1]
    return 0
