"""Nodes that TVM's importer has not, or has wrong, in terms of those that it has right.

The layer keeps its node (:class:`Operator`), and that is what it is verified against; this is what
is compiled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tvm_mobilenet.errors import UnsupportedOperatorError
from tvm_mobilenet.models.importer.graph import Array, Graph, Node, nodes_of, to_proto
from tvm_mobilenet.models.importer.outputs import COPY
from tvm_mobilenet.models.importer.resize import Rule, taps

if TYPE_CHECKING:
    import onnx

_MANY = 4
"""Elements an output may read of an axis; from here on a product with a matrix is cheaper."""

_COMPARED = 1 << 24
"""Pairs of elements that a TopK may compare."""


class Expansion:
    """One node's graph while it is being written anew.

    Parameters
    ----------
    graph : Graph
        Of this node alone; its inputs typed, its constants known.
    node : Node
    at : int
        Which of its outputs counts.
    """

    def __init__(self, graph: Graph, node: Node, at: int) -> None:
        self.graph, self.node, self.at = graph, node, at
        self.nodes: list[Node] = []

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first input."""
        return self.graph.shape(self.node.inputs[0])

    def op(self, kind: str, *inputs: str | Array, **attrs: Any) -> str:
        """Append a node, constants given as arrays; return its output."""
        names = [self.const(i) if isinstance(i, np.ndarray) else i for i in inputs]
        out = f"e{len(self.nodes)}"
        self.nodes.append(Node(kind, out, names, [out], attrs))
        return out

    def const(self, value: Array) -> str:
        """Store a constant; return its name."""
        name = f"k{len(self.graph.constants)}"
        self.graph.constants[name] = value
        return name

    def floats(self, value: Any) -> Array:
        """Return a number of the first input's type."""
        return np.asarray(value, self.graph.dtype(self.node.inputs[0]))

    def text(self, name: str, default: str) -> str:
        """Return an attribute that is a word."""
        value = self.node.attrs.get(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)

    def constant(self, at: int) -> Array | None:
        """Return an input that is a constant; None where there is none, or an empty one."""
        value = self.graph.constants.get(self.node.input(at))
        return value if value is not None and value.size else None

    def axis(self, default: int = -1, name: str = "axis") -> int:
        """Return an attribute that is an axis, not negative."""
        return int(self.node.attrs.get(name, default)) % len(self.shape)

    def refuse(self, why: str) -> UnsupportedOperatorError:
        """Return the error that names the node."""
        return UnsupportedOperatorError(
            f"the node {self.node.name!r}, {self.node.op}, {why}",
            "export the model without it, or cut the model before it",
        )


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


_Expand = Callable[[Expansion], "str | None"]


def _resize(e: Expansion) -> str:
    """Read every axis by its table, or multiply it by the matrix that the table is."""
    before, after = e.shape, e.graph.shape(e.graph.outputs[0])
    axes = [int(a) % len(before) for a in e.node.attrs.get("axes", range(len(before)))]
    scales = _scales(e, axes, before, after)
    region = e.constant(1)
    rule = Rule(
        e.text("mode", "nearest"),
        e.text("coordinate_transformation_mode", "half_pixel"),
        e.text("nearest_mode", "round_prefer_floor"),
        float(e.node.attrs.get("cubic_coeff_a", -0.75)),
        bool(e.node.attrs.get("exclude_outside", 0)),
        bool(e.node.attrs.get("antialias", 0)),
    )
    crops = rule.coordinates == "tf_crop_and_resize"
    y, outside = e.node.inputs[0], np.zeros((1,) * len(before), np.bool_)
    for number, axis in enumerate(axes):
        if before[axis] == after[axis] and scales[number] == 1 and not crops:
            continue
        roi = (0.0, 1.0)
        if crops and region is not None:
            roi = (float(region[number]), float(region[len(axes) + number]))
        try:
            table = taps(rule, before[axis], after[axis], float(scales[number]), roi)
        except ValueError as error:
            raise e.refuse(f"has {error}") from None
        y = _read_axis(e, y, table.at, table.weights, axis, before[axis])
        outside = outside | table.outside.reshape(
            [-1 if a == axis else 1 for a in range(len(before))]
        )
    if outside.any():
        other = e.floats(e.node.attrs.get("extrapolation_value", 0.0))
        y = e.op("Where", outside, other, y)
    return y


def _scales(e: Expansion, axes: list[int], before: Any, after: Any) -> list[float]:
    """Return the scale of each axis: as stated, or what the sizes come to."""
    stated = e.constant(2)
    if stated is not None:
        return [float(scale) for scale in stated]
    sizes = e.constant(3)
    asked = [float(after[axis] if sizes is None else sizes[i]) for i, axis in enumerate(axes)]
    scales = [size / before[axis] for size, axis in zip(asked, axes, strict=True)]
    policy = e.text("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return scales
    return [min(scales) if policy == "not_larger" else max(scales)] * len(axes)


def _read_axis(  # noqa: PLR0917  a tensor, an axis and its table
    e: Expansion, x: str, at: Array, weights: Array, axis: int, length: int
) -> str:
    """Return sums of weighted elements of an axis."""
    count, rank = at.shape[1], len(e.shape)
    if count == 1 and (weights == 1).all():
        return e.op("Gather", x, at[:, 0], axis=axis)
    if count > _MANY:
        matrix = np.zeros((len(at), length))
        np.add.at(matrix, (np.arange(len(at))[:, None], at), weights)
        last = [a for a in range(rank) if a != axis] + [axis]
        y = e.op("Transpose", x, perm=last)
        y = e.op("MatMul", y, e.floats(matrix.T))
        return e.op("Transpose", y, perm=[last.index(a) for a in range(rank)])
    total = ""
    for tap in range(count):
        factor = e.floats(weights[:, tap]).reshape([-1 if a == axis else 1 for a in range(rank)])
        part = e.op("Mul", e.op("Gather", x, np.ascontiguousarray(at[:, tap]), axis=axis), factor)
        total = e.op("Add", total, part) if total else part
    return total


def _tile(e: Expansion) -> str | None:
    """Read each axis again and again: LLVM 22 compiles TVM's own wrong for AVX-512."""
    repeats = e.constant(1)
    if repeats is None:
        raise e.refuse("repeats by a number that depends on the image")
    y = e.node.inputs[0]
    for axis, (length, count) in enumerate(zip(e.shape, repeats.tolist(), strict=True)):
        if count != 1:
            y = e.op("Gather", y, np.tile(np.arange(length), count), axis=axis)
    return y


def _pad(e: Expansion) -> str | None:
    """Cut what negative pads cut, and pad the rest; reflections and wraps read by a table."""
    pads, rank = e.constant(1), len(e.shape)
    if pads is None:
        raise e.refuse("pads by a number that depends on the image")
    axes = e.constant(3)
    full = np.zeros((2, rank), np.int64)
    full[:, range(rank) if axes is None else axes] = pads.reshape(2, -1)
    mode, y = e.text("mode", "constant"), e.node.inputs[0]
    cut, widths = np.maximum(-full, 0), np.maximum(full, 0)
    if mode != "constant":
        kinds: dict[str, Any] = {"edge": "edge", "reflect": "reflect", "wrap": "wrap"}
        for axis, length in enumerate(e.shape):
            left = np.arange(cut[0, axis], length - cut[1, axis])
            if full[:, axis].any():
                y = e.op("Gather", y, np.pad(left, widths[:, axis], kinds[mode]), axis=axis)
        return y
    if cut.any():
        ends = np.asarray(e.shape) - cut[1]
        y = e.op("Slice", y, cut[0], ends, np.arange(rank))
    if not widths.any():
        return y
    return e.op("Pad", y, widths.ravel(), *e.node.inputs[2:3], mode="constant")


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


def _batch_norm(e: Expansion) -> str | None:
    """In training: by the mean and the variance of this batch."""
    if not e.node.attrs.get("training_mode", 0):
        return None
    x, gamma, beta, mean, variance = e.node.inputs
    axes = np.array([a for a in range(len(e.shape)) if a != 1], np.int64)
    now = e.op("ReduceMean", x, axes, keepdims=1)
    away = e.op("Sub", x, now)
    spread = e.op("ReduceMean", e.op("Mul", away, away), axes, keepdims=1)
    if e.at:
        momentum = float(e.node.attrs.get("momentum", 0.9))
        before, after = (mean, now) if e.at == 1 else (variance, spread)
        kept = e.op("Mul", before, e.floats(momentum))
        flat = e.op("Reshape", after, np.array([-1]))
        return e.op("Add", kept, e.op("Mul", flat, e.floats(1 - momentum)))
    return _scaled(e, _normalised(e, away, spread, 1e-5), gamma, beta, len(e.shape) - 2)


def _normalised(e: Expansion, away: str, spread: str, epsilon: float) -> str:
    raised = e.op("Add", spread, e.floats(e.node.attrs.get("epsilon", epsilon)))
    return e.op("Div", away, e.op("Sqrt", raised))


def _scaled(e: Expansion, x: str, gamma: str, beta: str, behind: int) -> str:
    """Return x times gamma plus beta, both of one axis with `behind` axes behind it."""
    shape = np.array([-1] + [1] * behind)
    scaled = e.op("Mul", x, e.op("Reshape", gamma, shape))
    return e.op("Add", scaled, e.op("Reshape", beta, shape))


def _group_norm(e: Expansion) -> str:
    """Normalise groups as rows; scale and shift by channel, by group before opset 21."""
    x, gamma, beta = e.node.inputs
    batch, channels, *rest = e.shape
    groups = int(e.node.attrs["num_groups"])
    rows = e.op("Reshape", x, np.array([batch, groups, -1]))
    axes = np.array([2])
    away = e.op("Sub", rows, e.op("ReduceMean", rows, axes, keepdims=1))
    spread = e.op("ReduceMean", e.op("Mul", away, away), axes, keepdims=1)
    y = _normalised(e, away, spread, 1e-5)
    if e.graph.shape(gamma) == (groups,) and groups != channels:
        y = _scaled(e, y, gamma, beta, 1)
        return e.op("Reshape", y, np.array(e.shape))
    y = e.op("Reshape", y, np.array([batch, channels, math.prod(rest)]))
    return e.op("Reshape", _scaled(e, y, gamma, beta, 1), np.array(e.shape))


def _mean_variance(e: Expansion) -> str:
    axes = np.array(e.node.attrs.get("axes", [0, 2, 3]), np.int64)
    x = e.node.inputs[0]
    away = e.op("Sub", x, e.op("ReduceMean", x, axes, keepdims=1))
    spread = e.op("ReduceMean", e.op("Mul", away, away), axes, keepdims=1)
    return e.op("Div", away, e.op("Add", e.op("Sqrt", spread), e.floats(1e-9)))


def _rms_norm(e: Expansion) -> str:
    x, gamma = e.node.inputs[:2]
    axes = np.arange(e.axis(), len(e.shape))
    squares = e.op("ReduceMean", e.op("Mul", x, x), axes, keepdims=1)
    return e.op("Mul", _normalised(e, x, squares, 1e-5), gamma)


def _lp_normalisation(e: Expansion) -> str:
    kind = "ReduceL1" if int(e.node.attrs.get("p", 2)) == 1 else "ReduceL2"
    x = e.node.inputs[0]
    norm = e.op(kind, x, np.array([e.axis()]), keepdims=1)
    nothing = e.op("Equal", norm, e.floats(0.0))
    return e.op("Div", x, e.op("Where", nothing, e.floats(1.0), norm))


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


def _scatter(e: Expansion) -> str:
    """Read data and updates by a table: where they go is known."""
    indices, shape = e.constant(1), e.shape
    if indices is None or e.text("reduction", "none") != "none":
        raise e.refuse("writes to where depends on the image, or adds up what it writes")
    places = np.arange(math.prod(shape)).reshape(shape)
    if e.node.op == "ScatterND":
        wrapped = indices % np.array(shape[: indices.shape[-1]])
        targets = places[tuple(np.moveaxis(wrapped, -1, 0))]
    else:
        axis = e.axis(0)
        where = list(np.indices(indices.shape))
        where[axis] = indices % shape[axis]
        targets = places[tuple(where)]
    table = places.ravel()
    table[targets.ravel()] = table.size + np.arange(targets.size)
    flat = [e.op("Reshape", e.node.inputs[i], np.array([-1])) for i in (0, 2)]
    both = e.op("Concat", *flat, axis=0)
    return e.op("Reshape", e.op("Gather", both, table, axis=0), np.array(shape))


def _max_pool(e: Expansion) -> None:
    if e.at == 1:
        raise e.refuse("gives the places of its maxima")


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


_RULES: dict[str, _Expand] = {
    "BatchNormalization": _batch_norm,
    "Celu": _celu,
    "ConvTranspose": _transposed_conv,
    COPY: _copy,
    "CumSum": _running_sum,
    "GroupNormalization": _group_norm,
    "IsInf": _is_infinite,
    "LpNormalization": _lp_normalisation,
    "MeanVarianceNormalization": _mean_variance,
    "MaxPool": _max_pool,
    "OneHot": _one_hot,
    "Pad": _pad,
    "RMSNormalization": _rms_norm,
    "Resize": _resize,
    "ScatterElements": _scatter,
    "ScatterND": _scatter,
    "SpaceToDepth": _space_to_depth,
    "Swish": _swish,
    "Tile": _tile,
    "TopK": _top_k,
}
