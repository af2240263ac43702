"""Rewrites nodes of older opsets as opset 18 spells them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tvm_mobilenet.errors import UnsupportedOperatorError
from tvm_mobilenet.models.importer.graph import Graph, Node

MODERN = 18
"""The opset that everything behind this module may count on, or a newer one."""

_REDUCTIONS = {
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
}  # fmt: skip

_WITHOUT_SUM = {
    "ReduceL1": "Abs",
    "ReduceL2": "Abs",
    "ReduceLogSum": "Log",
    "ReduceSumSquare": "Mul",
}
"""What reductions over no axis still do."""


def modernise(graph: Graph) -> None:
    """Rewrite nodes that older opsets spell in another way.

    ======================================= ==================================================
    before                                  after
    ======================================= ==================================================
    bounds, axes, sizes as attributes       the same as constant inputs
    ``Upsample``, ``Resize`` of opset 10    ``Resize``, asymmetric
    ``Softmax`` of opset 12 and older       of two axes, between two ``Reshape``
    ``Dropout``                             ``Identity``; its mask is a constant
    ``Pow`` by an integer                   by a number of the base's type
    a reduction without axes                of all axes, or nothing
    ======================================= ==================================================

    Parameters
    ----------
    graph : Graph
        A graph with known shapes, which is changed; afterwards its opset is at least
        :data:`MODERN`.

    Raises
    ------
    UnsupportedOperatorError
        A node draws random numbers, or returns statistics of training.
    """
    nodes: list[Node] = []
    for node in graph.nodes:
        rule = _reduction if node.op in _REDUCTIONS else _RULES.get(node.op)
        changed = rule(graph, node) if rule is not None else None
        nodes += [node] if changed is None else changed
    graph.opset = max(graph.opset, MODERN)
    graph.keep(nodes)


_Rule = Callable[[Graph, Node], "list[Node] | None"]


def _constant(graph: Graph, node: Node, what: str, value: Any, dtype: Any = np.int64) -> str:
    return graph.add_constant(f"{node.name}.{what}", np.asarray(value, dtype))


def _attribute_as_input(
    graph: Graph, node: Node, name: str, at: int, dtype: Any = np.int64
) -> None:
    """Make an attribute the input number `at`, if it is there."""
    if name in node.attrs:
        value = _constant(graph, node, name, node.attrs.pop(name), dtype)
        node.inputs += [""] * (at + 1 - len(node.inputs))
        node.inputs[at] = value


def _axes_as_input(graph: Graph, node: Node) -> None:
    _attribute_as_input(graph, node, "axes", 1)


def _reduction(graph: Graph, node: Node) -> list[Node] | None:
    """State the axes: TVM's importer insists on them."""
    _axes_as_input(graph, node)
    nothing = node.attrs.pop("noop_with_empty_axes", 0)
    axes = graph.constants.get(node.input(1))
    if node.input(1) and (axes is None or axes.size):
        return None
    if nothing:  # is summed, but the rest of the operator remains
        rest = _WITHOUT_SUM.get(node.op, "Identity")
        inputs = node.inputs[:1] * (2 if rest == "Mul" else 1)
        return [Node(rest, node.name, inputs, node.outputs)]
    every = range(len(graph.shape(node.inputs[0])))
    node.inputs = [node.inputs[0], _constant(graph, node, "axes", every)]
    return None


def _clip(graph: Graph, node: Node) -> None:
    _attribute_as_input(graph, node, "min", 1, graph.dtype(node.inputs[0]))
    _attribute_as_input(graph, node, "max", 2, graph.dtype(node.inputs[0]))


def _pad(graph: Graph, node: Node) -> None:
    _attribute_as_input(graph, node, "pads", 1)
    _attribute_as_input(graph, node, "value", 2, graph.dtype(node.inputs[0]))


def _slice(graph: Graph, node: Node) -> None:
    for at, name in enumerate(("starts", "ends", "axes"), 1):
        _attribute_as_input(graph, node, name, at)


def _top_k(graph: Graph, node: Node) -> None:
    if "k" in node.attrs:
        node.attrs["k"] = [node.attrs["k"]]
    _attribute_as_input(graph, node, "k", 1)


def _split(graph: Graph, node: Node) -> None:
    """State every part: how many there are is otherwise an attribute or not, by opset."""
    node.attrs.pop("num_outputs", None)
    _attribute_as_input(graph, node, "split", 1)


def _drop_out(graph: Graph, node: Node) -> list[Node]:
    """Take it as it is when nobody trains; in training it draws random numbers."""
    training, ratio = graph.constants.get(node.input(2)), graph.constants.get(node.input(1))
    if node.input(2) and (training is None or training.any()) and (ratio is None or ratio.any()):
        raise UnsupportedOperatorError(
            f"the node {node.name!r}, Dropout, is in training mode: it draws random numbers",
            "export the model for inference: model.eval() before torch.onnx.export",
        )
    if len(node.outputs) > 1:
        # Old ones leave the mask of inference open; onnxruntime has zeros there.
        dtype = "bool" if graph.opset >= 10 else graph.dtype(node.inputs[0])
        mask = np.full(graph.shape(node.inputs[0]), graph.opset >= 12, dtype)
        graph.constants[node.outputs[1]] = mask
    return [Node("Identity", node.name, node.inputs[:1], node.outputs[:1])] if node.out else []


def _batch_norm(graph: Graph, node: Node) -> None:
    """Refuse statistics of training that old opsets give, and such as have every pixel."""
    if len(node.outputs) > 1 and graph.opset < 14:
        raise UnsupportedOperatorError(
            f"the node {node.name!r}, BatchNormalization, gives statistics of training",
            "export the model for inference: model.eval() before torch.onnx.export",
        )
    if not node.attrs.get("spatial", 1):
        channels = graph.shape(node.inputs[0])[1]
        if any(graph.shape(part) != (channels,) for part in node.inputs[1:5]):
            raise UnsupportedOperatorError(
                f"the node {node.name!r}, BatchNormalization, has statistics for every pixel",
                "export the model with a newer opset",
            )
    for name in ("spatial", "is_test", "consumed_inputs"):
        node.attrs.pop(name, None)


def _power(graph: Graph, node: Node) -> None:
    base, exponent = node.inputs
    dtype = graph.dtype(base)
    if graph.dtype(exponent) != dtype and exponent in graph.constants:
        value = graph.constants[exponent]
        node.inputs = [base, _constant(graph, node, "exponent", value, dtype)]


def _softmax(graph: Graph, node: Node) -> list[Node] | None:
    """Write what flattens all axes from one on as two axes between two views."""
    if graph.opset >= 13:
        return None
    source, shape = node.inputs[0], graph.shape(node.inputs[0])
    axis = int(node.attrs.pop("axis", 1)) % len(shape)
    if math.prod(shape[axis + 1 :]) == 1:
        node.attrs["axis"] = axis
        return None
    dtype, flat = graph.dtype(source), (math.prod(shape[:axis]), math.prod(shape[axis:]))
    before = graph.fresh(f"{node.out}.flat")
    graph.types[before] = (dtype, flat)
    after = graph.fresh(f"{node.out}.rows")
    graph.types[after] = (dtype, flat)
    to_flat, back = _constant(graph, node, "flat", flat), _constant(graph, node, "shape", shape)
    return [
        Node("Reshape", f"{node.name}.flat", [source, to_flat], [before]),
        Node(node.op, node.name, [before], [after], {"axis": 1}),
        Node("Reshape", f"{node.name}.back", [after, back], node.outputs),
    ]


def _upsample(graph: Graph, node: Node) -> list[Node] | None:
    """Write it as a Resize of today: its pixels are asymmetric, and nearest is the one before.

    That one is behind where an axis shrinks (opset 10 shows it so in its example, and
    onnxruntime does so): growing and shrinking axes are done one after the other.
    """
    if node.op == "Resize" and graph.opset > 10:
        return None
    scales = np.asarray(
        node.attrs.pop("scales") if "scales" in node.attrs else graph.constants[node.inputs[1]],
        np.float32,
    )
    mode = node.attrs.get("mode", b"nearest")
    steps = [("floor", np.maximum(scales, 1)), ("ceil", np.minimum(scales, 1))]
    steps = [step for step in steps if (step[1] != 1).any()] or steps[:1]
    if mode not in (b"nearest", "nearest"):
        steps = [("floor", scales)]
    source, nodes = node.inputs[0], []
    dtype, shape = graph.types[source]
    for number, (nearest, some) in enumerate(steps, 1):
        last = number == len(steps)
        shape = tuple(
            math.floor(np.float32(size) * scale) for size, scale in zip(shape, some, strict=True)
        )
        out = node.out if last else graph.fresh(f"{node.out}.grown")
        graph.types[out] = graph.types[node.out] if last else (dtype, shape)
        attrs = {
            "mode": b"linear" if mode in (b"bilinear", "bilinear") else mode,
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": nearest,
        }
        inputs = [source, "", _constant(graph, node, "scales", some, np.float32)]
        name = node.name if last else f"{node.name}.grown"
        nodes.append(Node("Resize", name, inputs, [out], attrs))
        source = out
    return nodes


def _scatter(_: Graph, node: Node) -> None:
    node.op = "ScatterElements"


_RULES: dict[str, _Rule] = {
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Dropout": _drop_out,
    "Hardmax": _softmax,
    "LogSoftmax": _softmax,
    "Pad": _pad,
    "Pow": _power,
    "Resize": _upsample,
    "Scatter": _scatter,
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _axes_as_input,
    "TopK": _top_k,
    "Unsqueeze": _axes_as_input,
    "Upsample": _upsample,
}
