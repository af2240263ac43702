"""Nodes that TVM's importer has not, or has wrong, in terms of those that it has right.

The layer keeps its node (:class:`Operator`), and that is what it is verified against; this is what
is compiled.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tvm_mobilenet.models.importer.expand_indices import INDICES
from tvm_mobilenet.models.importer.expand_norms import NORMS
from tvm_mobilenet.models.importer.expansion import Expansion, Rule
from tvm_mobilenet.models.importer.graph import Graph, nodes_of, to_proto
from tvm_mobilenet.models.importer.outputs import COPY

if TYPE_CHECKING:
    import onnx

_COMPARED = 1 << 24
"""Pairs of elements that a TopK may compare."""


def expand(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model that computes the same by nodes that TVM's importers have right.

    Parameters
    ----------
    model : onnx.ModelProto
        One node, as :meth:`Operator.to_onnx` gives it: weights inside, one output.

    Returns
    -------
    onnx.ModelProto
        The same one where there is nothing to do.

    Raises
    ------
    UnsupportedOperatorError
        Neither TVM nor this module computes it; the message says why.
    """
    (node,) = model.graph.node
    rule = _RULES.get(node.op_type)
    if rule is None:
        return model
    from onnx import numpy_helper

    graph = _graph(model)
    (alone,), (out,) = graph.nodes, graph.outputs
    written = Expansion(graph, alone, alone.outputs.index(out))
    result = rule(written)
    if result is None:
        return model
    if not written.nodes or result != written.nodes[-1].out:
        written.op("Identity", result)
    written.nodes[-1].outputs = [out]
    read = {tensor for made in written.nodes for tensor in made.inputs}
    expanded = type(model)()
    expanded.CopyFrom(model)
    del expanded.graph.node[:], expanded.graph.initializer[:]
    expanded.graph.node.extend(to_proto(made) for made in written.nodes)
    expanded.graph.initializer.extend(
        numpy_helper.from_array(value, name)
        for name, value in graph.constants.items()
        if name in read
    )
    return expanded


def _graph(model: onnx.ModelProto) -> Graph:
    """Return a model of one node as a graph; of types, those of inputs and output are known."""
    from onnx import helper, numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    types = {}
    for value in (*inputs, *model.graph.output):
        kind = value.type.tensor_type
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
        types[value.name] = (str(dtype), tuple(dim.dim_value for dim in kind.shape.dim))
    outputs = [value.name for value in model.graph.output]
    opset = model.opset_import[0].version
    return Graph(inputs[0].name, outputs, outputs, nodes_of(model), constants, types, opset)


def _running_sum(e: Expansion) -> str:
    """Multiply by a triangle of ones."""
    where = e.constant(1)
    if where is None:
        raise e.refuse("sums along an axis that depends on the image")
    axis, rank = int(where.reshape(-1)[0]) % len(e.shape), len(e.shape)
    exclusive = int(e.node.attrs.get("exclusive", 0))
    triangle = np.triu(np.ones((e.shape[axis],) * 2), exclusive)
    triangle = triangle.T if e.node.attrs.get("reverse", 0) else triangle
    last = [a for a in range(rank) if a != axis] + [axis]
    y = e.op("MatMul", e.op("Transpose", e.node.inputs[0], perm=last), e.floats(triangle))
    return e.op("Transpose", y, perm=[last.index(a) for a in range(rank)])


def _clip(e: Expansion) -> str | None:
    """State both bounds: Relay's importer takes another number for one that is left out."""
    bounds = [e.node.input(1), e.node.input(2)]
    if all(bounds) or not e.graph.dtype(e.node.inputs[0]).startswith("float"):
        return None
    low, high = (
        b or e.const(e.floats(end)) for b, end in zip(bounds, (-np.inf, np.inf), strict=True)
    )
    return e.op("Clip", e.node.inputs[0], low, high)


def _celu(e: Expansion) -> str:
    x, alpha = e.node.inputs[0], float(e.node.attrs.get("alpha", 1.0))
    low = e.op("Min", x, e.floats(0.0))
    grown = e.op("Sub", e.op("Exp", e.op("Div", low, e.floats(alpha))), e.floats(1.0))
    return e.op("Add", e.op("Max", x, e.floats(0.0)), e.op("Mul", grown, e.floats(alpha)))


def _swish(e: Expansion) -> str:
    x, alpha = e.node.inputs[0], float(e.node.attrs.get("alpha", 1.0))
    return e.op("Mul", x, e.op("Sigmoid", e.op("Mul", x, e.floats(alpha))))


def _is_infinite(e: Expansion) -> str | None:
    up, down = (bool(e.node.attrs.get(f"detect_{s}", 1)) for s in ("positive", "negative"))
    if up and down:
        return None
    side = e.op("Greater" if up else "Less", e.node.inputs[0], e.floats(0.0))
    return e.op("And", e.op("IsInf", e.node.inputs[0]), side)


def _one_hot(e: Expansion) -> str:
    depth, values = e.constant(1), e.constant(2)
    if depth is None or values is None:
        raise e.refuse("has a depth or values that depend on the image")
    count, rank = int(depth.reshape(-1)[0]), len(e.shape) + 1
    axis = int(e.node.attrs.get("axis", -1)) % rank
    index = e.op("Cast", e.node.inputs[0], to=7)
    negative = e.op("Less", index, np.array(0))
    index = e.op("Where", negative, e.op("Add", index, np.array(count)), index)
    index = e.op("Unsqueeze", index, np.array([axis]))
    classes = np.arange(count).reshape([-1 if a == axis else 1 for a in range(rank)])
    return e.op(
        "Where", e.op("Equal", index, classes), values[1:2].reshape(()), values[:1].reshape(())
    )


def _space_to_depth(e: Expansion) -> str | None:
    if e.text("mode", "DCR") != "CRD":
        return None
    batch, channels, height, width = e.shape
    b = int(e.node.attrs["blocksize"])
    y = e.op(
        "Reshape", e.node.inputs[0], np.array([batch, channels, height // b, b, width // b, b])
    )
    y = e.op("Transpose", y, perm=[0, 1, 3, 5, 2, 4])
    return e.op("Reshape", y, np.array([batch, channels * b * b, height // b, width // b]))


def _top_k(e: Expansion) -> str:
    """Count who is larger than each element: that is its place, and the smaller index is first."""
    k, axis, rank = e.constant(1), e.axis(), len(e.shape)
    if k is None:
        raise e.refuse("takes as many as depends on the image")
    length, count = e.shape[axis], int(k.reshape(-1)[0])
    if length * math.prod(e.shape) > _COMPARED:
        raise e.refuse(f"chooses among {length}, which is slower here than by the caller")
    last = [a for a in range(rank) if a != axis] + [axis]
    x = e.op("Transpose", e.node.inputs[0], perm=last)
    mine = e.op("Unsqueeze", x, np.array([rank]))
    others = e.op("Unsqueeze", x, np.array([rank - 1]))
    ahead = e.op("Greater" if e.node.attrs.get("largest", 1) else "Less", others, mine)
    index = np.arange(length)
    tied = e.op("And", e.op("Equal", others, mine), index[None] < index[:, None])
    beaten = e.op("Cast", e.op("Or", ahead, tied), to=7)
    place = e.op("ReduceSum", beaten, np.array([rank]), keepdims=0)
    place = e.op("Unsqueeze", place, np.array([rank - 1]))
    chosen = e.op("Equal", place, np.arange(count)[:, None])
    if e.at == 0:
        found = e.op("Where", chosen, others, e.floats(0.0))
    else:
        found = e.op("Where", chosen, index, np.array(0))
    found = e.op("ReduceSum", found, np.array([rank]), keepdims=0)
    return e.op("Transpose", found, perm=[last.index(a) for a in range(rank)])


def _max_pool(e: Expansion) -> None:
    if e.at == 1:
        raise e.refuse("gives the places of its maxima")


def _max_unpool(e: Expansion) -> None:
    raise e.refuse("writes to where its other input says")


def _align(e: Expansion) -> None:
    if e.text("mode", "avg") != "avg":
        raise e.refuse("takes maxima, which TVM's importer has wrong")


def _transposed_conv(e: Expansion) -> str | None:
    """State the pads that an output's shape, or SAME, comes to."""
    attrs = dict(e.node.attrs)
    auto, wanted = e.text("auto_pad", "NOTSET"), attrs.pop("output_shape", None)
    attrs.pop("auto_pad", None)
    if wanted is None and auto in ("NOTSET", "VALID"):
        return None
    size = e.shape[2:]
    kernel = attrs.get("kernel_shape") or e.graph.shape(e.node.inputs[1])[2:]
    strides, dilations, extra = (
        list(attrs.get(name) or [default] * len(size))
        for name, default in (("strides", 1), ("dilations", 1), ("output_padding", 0))
    )
    goal = e.graph.shape(e.graph.outputs[0])[2:]
    before, after = [], []
    for i, length in enumerate(size):
        natural = strides[i] * (length - 1) + extra[i] + (kernel[i] - 1) * dilations[i] + 1
        total = natural - goal[i]
        extra[i] += max(-total, 0)
        small, large = max(total, 0) // 2, max(total, 0) - max(total, 0) // 2
        before.append(small if auto == "SAME_UPPER" else large)
        after.append(large if auto == "SAME_UPPER" else small)
    attrs |= {"pads": before + after, "output_padding": extra, "kernel_shape": list(kernel)}
    return e.op("ConvTranspose", *e.node.inputs, **attrs)


def _copy(e: Expansion) -> str:
    """Choose between a value and itself, by the image: no pass takes that for a view."""
    image, value = e.graph.input, e.node.inputs[0]
    rank = len(e.graph.shape(image))
    first, behind = np.zeros(rank, np.int64), np.ones(rank, np.int64)
    pixel = e.op("Slice", image, first, behind, np.arange(rank))
    bright = e.op(
        "Greater", e.op("Reshape", pixel, np.zeros(0, np.int64)), np.zeros((), np.float32)
    )
    return e.op("Where", bright, value, value)


_RULES: dict[str, Rule] = {
    **INDICES,
    **NORMS,
    "Celu": _celu,
    "Clip": _clip,
    "ConvTranspose": _transposed_conv,
    "CumSum": _running_sum,
    COPY: _copy,
    "IsInf": _is_infinite,
    "MaxPool": _max_pool,
    "MaxUnpool": _max_unpool,
    "OneHot": _one_hot,
    "RoiAlign": _align,
    "SpaceToDepth": _space_to_depth,
    "Swish": _swish,
    "TopK": _top_k,
}
